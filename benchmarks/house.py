"""How large the house is, whether its imports run one way, and how many files the way of the data enters.

    python -m benchmarks.house [--trace] [--json FILE]

Counts files and lines of ``src/semiseg``, loose files at its top, and circles of imports between files,
folders and rooms of the top: by the imports that run when a module is loaded, with those inside functions,
and with those for types only. ``--trace`` trains one iteration on ten synthetic scans and predicts one, and
says which files had a function called until the first loss and until the NIfTI file was there, in the order
of their first call. Rooms beside the way (``studio``, ``delivery``, ``dataset/public``) are not counted.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import io
import itertools
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "semiseg"
BESIDE = ("studio/", "delivery/", "dataset/public/")
READ = ("dycon", "cml", "ac_mt", "mean_teacher")
"""Methods whose files are counted."""

When = Literal["load", "call", "types"]
Edges = Mapping[str, Mapping[str, When]]
"""File -> the files that it imports, and when the earliest of these imports runs."""


@dataclass(frozen=True)
class House:
    """Every counted file with its text, by its path below ``src/semiseg``."""

    texts: Mapping[str, str]

    @classmethod
    def read(cls) -> House:
        paths = {p.relative_to(SOURCE).as_posix(): p for p in sorted(SOURCE.rglob("*.py"))}
        counted = {name: path for name, path in paths.items() if not name.startswith(BESIDE)}
        return cls({name: path.read_text(encoding="utf-8") for name, path in counted.items()})

    def module(self, name: str) -> str | None:
        """The file of a module by its dotted name; None where there is none."""
        root, *parts = name.split(".")
        if root != "semiseg":
            return None
        inner = "/".join(parts)
        candidates = (f"{inner}.py", f"{inner}/__init__.py".lstrip("/"))
        return next((c for c in candidates if c in self.texts), None)

    def imports(self, text: str, *, to_source: bool = False) -> Iterator[tuple[str, When]]:
        """The files that a text imports; ``to_source`` goes on from an ``__init__`` to what it passes on."""
        for node, when in _imports(ast.parse(text), "load"):
            if isinstance(node, ast.Import):
                found = [self.module(alias.name) for alias in node.names]
            else:
                found = [self._file(str(node.module), alias.name, to_source) for alias in node.names]
            for file in found:
                if file is not None:
                    yield file, when

    def _file(self, module: str, name: str, to_source: bool) -> str | None:
        file = self.module(f"{module}.{name}") or self.module(module)
        if file is None or not to_source or not file.endswith("__init__.py"):
            return file
        for node in ast.parse(self.texts[file]).body:
            if isinstance(node, ast.ImportFrom) and name in {a.asname or a.name for a in node.names}:
                return self._file(str(node.module), name, to_source) or file
        return file

    def edges(self) -> Edges:
        order = ("load", "call", "types")
        found: dict[str, dict[str, When]] = {name: {} for name in self.texts}
        for name, text in self.texts.items():
            for other, when in self.imports(text):
                known = found[name].get(other, "types")
                if other != name:
                    found[name][other] = min(known, when, key=order.index)
        return found


def _imports(node: ast.AST, when: When) -> Iterator[tuple[ast.Import | ast.ImportFrom, When]]:
    for child in ast.iter_child_nodes(node):
        now = when
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            now = "call" if when == "load" else when
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            now = "types"
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, when
        yield from _imports(child, now)


def room(file: str) -> str:
    """The folder of a file; a loose file is its own."""
    return file.rpartition("/")[0] or file


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one node (Tarjan 1972), the largest first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            component, stack[at:] = stack[at:], []
            if len(component) > 1:
                found.append(sorted(component))

    sys.setrecursionlimit(10_000)
    for node in sorted(edges):
        if node not in index:
            visit(node)
    return sorted(found, key=lambda c: (-len(c), c))


def between(edges: Mapping[str, set[str]], group: Callable[[str], str]) -> dict[str, set[str]]:
    """The same arrows between groups of files."""
    found: dict[str, set[str]] = {}
    for file, others in edges.items():
        here = found.setdefault(group(file), set())
        here |= {group(other) for other in others} - {group(file)}
    return found


def top_room(file: str) -> str:
    """The room of the top that a file is in; a loose file is its own."""
    return file.split("/")[0]


def files_of_method(house: House, name: str) -> list[str]:
    """The files one opens to read a method: its own, and those it takes something from, but ``core``."""
    rooms = ("methods/", "parts/", "losses/", "schedules.py", "ema.py")
    own = [f for f in (f"methods/{name}.py", f"methods/{name}/__init__.py") if f in house.texts]
    seen, todo = set(own), list(own)
    while todo:
        for other, when in house.imports(house.texts[todo.pop()], to_source=True):
            if when != "types" and other not in seen and other.startswith(rooms):
                seen.add(other)
                todo.append(other)
    return sorted(seen)


def count() -> dict[str, Any]:
    """What can be told without running anything."""
    house = House.read()
    edges = house.edges()
    kinds: dict[str, tuple[When, ...]] = {
        "load": ("load",),
        "and late": ("load", "call"),
        "and types": ("load", "call", "types"),
    }
    graphs = {
        title: {file: {o for o, when in to.items() if when in kept} for file, to in edges.items()}
        for title, kept in kinds.items()
    }
    return {
        "files": len(house.texts),
        "lines": sum(text.count("\n") for text in house.texts.values()),
        "folders": len({room(file) for file in house.texts if "/" in file}),
        "loose": sorted(file for file in house.texts if "/" not in file),
        "circles of files": {title: circles(graph) for title, graph in graphs.items()},
        "circles of folders": {title: circles(between(graph, room)) for title, graph in graphs.items()},
        "circles of rooms": {title: circles(between(graph, top_room)) for title, graph in graphs.items()},
        "files to read a method": {name: files_of_method(house, name) for name in READ},
    }


class Trace:
    """The files of the package in the order in which their functions are first entered, up to an event."""

    def __init__(self, ends: Callable[[str, str], bool]) -> None:
        self.files: list[str] = []
        self._ends, self._done = ends, False

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if self._done or event != "call" or not code.co_flags & inspect.CO_OPTIMIZED:
            return  # over, or the body of a module or of a class
        if not code.co_filename.startswith(str(SOURCE)) or _importing(frame):
            return
        file = Path(code.co_filename).relative_to(SOURCE).as_posix()
        if file not in self.files:
            self.files.append(file)
        self._done = self._ends(file, code.co_name)

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Watch every thread of this process."""
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]

    def told(self) -> dict[str, Any]:
        """Files in order, rooms, and how often the next file is in another room than the last."""
        rooms = [room(file) for file in self.files]
        changes = sum(a != b for a, b in itertools.pairwise(rooms))
        return {"files": len(self.files), "rooms": len(set(rooms)), "changes": changes, "order": self.files}


def _importing(frame: FrameType | None) -> bool:
    """Whether a module of the package is being loaded further up."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "<module>" and code.co_filename.startswith(str(SOURCE)):
            return True
        frame = frame.f_back
    return False


def trace() -> dict[str, Any]:
    """Train one iteration and predict one scan, without further processes, and watch."""
    from semiseg.cli import main
    from semiseg.demo.phantoms import make_phantom_dataset

    with tempfile.TemporaryDirectory() as place:
        os.environ["SEMISEG_HOME"] = f"{place}/home"
        data = make_phantom_dataset(Path(place) / "Dataset001_Phantoms", labeled=4, unlabeled=5, test=1)
        run = f"{place}/run"
        common = ["--device", "cpu", "-q", "-q", "--no-progress"]
        to_loss = Trace(lambda file, name: file.startswith("losses/"))
        to_file = Trace(lambda file, name: False)
        train = ["train", str(data), "--run", run, "--iterations", "1", "-j", "0", *common]
        scans, out = str(data / "imagesTs"), f"{place}/out"
        predict = ["predict", "-m", run, "-i", scans, "-o", out, "-j", "0", *common]
        with contextlib.redirect_stdout(io.StringIO()), to_loss.on():
            _must(main(train), train)
        with contextlib.redirect_stdout(io.StringIO()), to_file.on():
            _must(main(predict), predict)
        if not list(Path(place, "out").glob("*.nii.gz")):
            raise SystemExit("the prediction wrote no NIfTI file")
    return {"semiseg train, to the first loss": to_loss.told(), "semiseg predict, to a NIfTI": to_file.told()}


def _must(code: int, command: list[str]) -> None:
    if code:
        raise SystemExit(f"semiseg {' '.join(command)} ended with {code}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trace", action="store_true", help="also train and predict, about a minute")
    parser.add_argument("--json", type=Path, help="write everything, with the lists, to this file")
    arguments = parser.parse_args()
    found = count()
    print(f"{found['files']} files, {found['lines']} lines, {found['folders']} folders")
    print(f"{len(found['loose'])} loose: {', '.join(found['loose'])}")
    for what in ("files", "folders", "rooms"):
        for title, components in found[f"circles of {what}"].items():
            print(f"circles of {what}, imports that {title}: {len(components)}")
            for component in components:
                print(f"    {len(component)}: {', '.join(component)}")
    for name, files in found["files to read a method"].items():
        print(f"to read {name}: {len(files)} files")
    if arguments.trace:
        found["trace"] = trace()
        for title, way in found["trace"].items():
            print(
                f"{title}: {way['files']} files in {way['rooms']} folders, {way['changes']} changes of folder"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
