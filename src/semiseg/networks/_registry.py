"""What networks there are, read from the source files: listing them must not cost an import of torch."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from semiseg.errors import unknown_name

_FOLDER = Path(__file__).parent
_ADAPTER = "monai"
"""The one public file that is not a network, but a door to many."""


def names() -> list[str]:
    """Our own networks, by file name; ``monai:Class`` and ``package.module:Class`` can be built, too."""
    return sorted(p.stem for p in _FOLDER.glob("*.py") if not p.stem.startswith("_") and p.stem != _ADAPTER)


def require(name: str) -> None:
    """Refuse a name that none of our networks has; those of other packages are found when they are built.

    Raises:
        UsageError: names the nearest.
    """
    if ":" not in name and name not in names():
        raise unknown_name(
            "network",
            name,
            names(),
            hint=f"known: {', '.join(names())}, or monai:CLASS (any MONAI network), or package.module:CLASS",
        )


def describe() -> list[dict[str, Any]]:
    """One entry per network: ``name``, ``summary``, ``dims``, ``paper``, ``options`` (name -> default).

    The text is the class's docstring: its first line, and its line that starts with ``Paper:``.
    """
    return [_describe(name) for name in names()]


def class_of(tree: ast.Module, name: str) -> ast.ClassDef:
    """The network's class in its file: its name is the file's, but for case and underscores."""
    wanted = name.replace("_", "").lower()
    return next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name.lower() == wanted)


def class_name(name: str) -> str:
    """The class that the file ``name`` offers."""
    return class_of(_parse(name), name).name


def _parse(name: str) -> ast.Module:
    return ast.parse((_FOLDER / f"{name}.py").read_text(encoding="utf-8"))


def _describe(name: str) -> dict[str, Any]:
    node = class_of(_parse(name), name)
    lines = (ast.get_docstring(node) or "").splitlines()
    return {
        "name": name,
        "summary": lines[0] if lines else "",
        "dims": _dims(node),
        "paper": _paper(lines),
        "options": _options(node),
    }


def _paper(lines: list[str]) -> str:
    """The paragraph that starts with ``Paper:``, on one line."""
    start = next((i for i, line in enumerate(lines) if line.startswith("Paper:")), len(lines))
    rest = lines[start:]
    end = next((i for i, line in enumerate(rest) if not line.strip()), len(rest))
    return " ".join(line.strip() for line in rest[:end]).removeprefix("Paper:").strip()


def _dims(node: ast.ClassDef) -> list[int]:
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and ast.unparse(item.target) == "dims" and item.value:
            return list(ast.literal_eval(item.value))
    return [2, 3]


def _options(node: ast.ClassDef) -> dict[str, str]:
    init = next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    pairs = zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
    return {arg.arg: ast.unparse(default) for arg, default in pairs if default and arg.arg != "heads"}
