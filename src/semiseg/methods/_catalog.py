"""What a method says of itself, read from its source text without importing it, and its figures.

A class has its facts (:class:`~semiseg.methods._facts.Facts`) below its docstring, which has a form: summary
line, formula paragraph, prose, ``Args:``. The pages of the documentation and ``semiseg methods NAME`` are
made of both. Figures are those of ``published.csv`` and ``measured.csv``.
"""

from __future__ import annotations

import ast
import csv
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semiseg.methods._facts import Facts, Paper


def find_class(path: Path, name: str = "", *, whole: bool = True) -> ast.ClassDef | None:
    """The class called ``name``, else the one that has facts, else the last; up to the facts or ``whole``."""
    classes = [node for node in _parse(path, whole=whole).body if isinstance(node, ast.ClassDef)]
    if name:
        classes = [node for node in classes if node.name == name]
    described = [node for node in classes if _facts(node)]
    return next(iter([*described, *reversed(classes)]), None)


@functools.cache  # trees are kept, see _tree
def _facts(node: ast.ClassDef) -> Facts | None:
    """What a class declares; None where it declares nothing, or no literals."""
    for item in node.body:
        if isinstance(item, ast.Assign | ast.AnnAssign) and item.value and "facts" in _assigned(item):
            try:
                made = _built(item.value)
            except (TypeError, ValueError):
                return None
            return made if isinstance(made, Facts) else None
    return None


def _built(node: ast.expr) -> Any:
    """The value of an expression of literals, facts and papers; no code runs.

    Raises:
        ValueError: something else stands there.
        TypeError: facts or papers with other fields.
    """
    match node:
        case ast.Call(func=ast.Name(id="Facts" | "Paper" as kind)):
            named = {each.arg: _built(each.value) for each in node.keywords if each.arg}
            return {"Facts": Facts, "Paper": Paper}[kind](*map(_built, node.args), **named)
        case ast.Tuple():
            return tuple(map(_built, node.elts))
    return ast.literal_eval(node)


def keyword_only(node: ast.ClassDef, path: Path) -> Iterator[tuple[str, str, Any]]:
    """Name, annotation and default of the constructor's keyword-only arguments, its own first.

    A default that is no literal is given as its source text.
    """
    told: set[str] = set()
    for kind in _constructed_by(node, path):
        for item in _constructor(kind):
            for argument, default in zip(item.args.kwonlyargs, item.args.kw_defaults, strict=True):
                if argument.arg not in told:
                    told.add(argument.arg)
                    annotation = ast.unparse(argument.annotation) if argument.annotation else ""
                    yield argument.arg, annotation, _value(default)


def _constructed_by(node: ast.ClassDef, path: Path) -> Iterator[ast.ClassDef]:
    """The class, and the bases beside it whose options it has because it passes ``**more`` on.

    So does a class without a constructor of its own.
    """
    for kind in _ancestors(node, path):
        yield kind
        own = _constructor(kind)
        if own and not own[0].args.kwarg:
            return


def _ancestors(node: ast.ClassDef, path: Path) -> Iterator[ast.ClassDef]:
    """The class and the bases beside it, where options are described that it has as they have them."""
    yield node
    if base := _base(node, path):
        yield from _ancestors(*base)


@functools.cache  # trees are kept, see _tree
def targets(node: ast.ClassDef) -> tuple[str, ...]:
    """Every name in a tuple that is assigned to ``targets``, on the class or on an instance."""
    names: dict[str, None] = {}
    for item in ast.walk(node):
        if isinstance(item, ast.Assign | ast.AnnAssign) and item.value and "targets" in _assigned(item):
            for part in ast.walk(item.value):
                if isinstance(part, ast.Tuple):
                    names |= {str(e.value): None for e in part.elts if isinstance(e, ast.Constant)}
    return tuple(names)


def _parse(path: Path, *, whole: bool = True) -> ast.Module:
    text = path.read_text(encoding="utf-8")
    end = -1 if whole else text.find("\n    def ", text.find("\n    facts = "))
    return _tree(text if end < 0 else text[:end])


@functools.cache
def _tree(text: str) -> ast.Module:
    """Of the text, not of the path: the bases of all methods are the same few, and a file may change."""
    return ast.parse(text)


def _constructor(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]


def _base(node: ast.ClassDef, path: Path) -> tuple[ast.ClassDef, Path] | None:
    """The first base class that is in the same file, or is imported from a file of the folder of methods."""
    modules = {
        alias.name: item.module.rpartition(".")[2]
        for item in _parse(path).body
        if isinstance(item, ast.ImportFrom) and item.module
        for alias in item.names
    }
    here = {item.name: item for item in _parse(path).body if isinstance(item, ast.ClassDef)}
    folder = path.parent.parent if path.name == "__init__.py" else path.parent
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in here:
            return here[base.id], path
        if isinstance(base, ast.Name) and base.id in modules:
            beside = folder / f"{modules[base.id]}.py"
            if beside.is_file() and (found := find_class(beside, base.id)):
                return found, beside
    return None


def _assigned(item: ast.Assign | ast.AnnAssign) -> set[str]:
    places = item.targets if isinstance(item, ast.Assign) else [item.target]
    return {place.id if isinstance(place, ast.Name) else getattr(place, "attr", "") for place in places}


def _value(default: ast.expr | None) -> Any:
    if default is None:
        return None
    try:
        return ast.literal_eval(default)
    except ValueError:
        return ast.unparse(default)


WIDEST_SUMMARY = 60
"""Characters: the list of all methods has a line each."""


@dataclass(frozen=True)
class Option:
    """A keyword argument of the constructor."""

    name: str
    type: str
    """The annotation as it stands in the source."""
    default: Any
    """The value; where it is no literal, its source text."""
    description: str


@dataclass(frozen=True)
class Description:
    """A method as its facts, its docstring and its signature tell it; what they do not tell is empty."""

    name: str
    facts: Facts = field(default_factory=Facts)
    summary: str = ""
    formula: str = ""
    """The paragraph, with its double backticks."""
    targets: tuple[str, ...] = ()
    prose: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()

    def problems(self) -> list[str]:
        """Where the docstring does not have the form, and facts that are missing; empty if there is none."""
        wrong = []
        if not self.summary.endswith("."):
            wrong.append("the docstring begins with one line that ends in a period")
        if len(self.summary) > WIDEST_SUMMARY:
            wrong.append(f"the first line has {WIDEST_SUMMARY} characters at most; say more below")
        if not self.formula.startswith("``"):
            wrong.append("the second paragraph is the formula, in ``double backticks``")
        wrong += self.facts.problems()
        silent = [option.name for option in self.options if not option.description]
        if silent:
            wrong.append(f"`Args:` has a line on each option; none on {', '.join(silent)}")
        return wrong


def read_head(path: Path, name: str, class_name: str = "") -> Description:
    """What the facts of :func:`read`'s class and its docstring above ``Args:`` say."""
    node = find_class(path, class_name, whole=False)
    if node is None:
        return Description(name)
    text, _, _ = (ast.get_docstring(node) or "").partition("\nArgs:\n")
    summary, *paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text)]
    formula = paragraphs.pop(0) if paragraphs and paragraphs[0].startswith("``") else ""
    return Description(
        name,
        _facts(node) or Facts(),
        summary=one_line(summary),
        formula=one_line(formula),
        prose=tuple(part for part in paragraphs if not part.startswith("Raises:")),
    )


def read(path: Path, name: str, class_name: str = "") -> Description:
    """The method of a source file: the class called ``class_name``, else the one that has facts."""
    head, node = read_head(path, name, class_name), find_class(path, class_name)
    if node is None:
        return head
    described: dict[str, str] = {}
    for kind in _ancestors(node, path):
        described = _arguments(kind) | described
    return replace(
        head,
        targets=targets(node),
        options=tuple(
            Option(argument, kind, default, described.get(argument, ""))
            for argument, kind, default in keyword_only(node, path)
        ),
    )


def one_line(text: str) -> str:
    """Text of several lines as one."""
    return " ".join(text.split())


def _arguments(node: ast.ClassDef) -> dict[str, str]:
    """Name -> description, of the Google-style ``Args:`` section of a class."""
    _, _, section = (ast.get_docstring(node) or "").partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", section)[0]  # up to the next section
    entries = re.split(r"\n(?=    \w)", "\n" + section)
    pairs = (entry.strip().partition(":") for entry in entries if entry.strip())
    return {name.strip(): one_line(description) for name, _, description in pairs}


NUMBERS = {
    "Share": "number from 0 to 1",
    "Amount": "number, 0 or more",
    "Positive": "number above 0",
    "Count": "whole number, 0 or more",
    "Length": "whole number, 1 or more",
    "float": "number",
    "int": "whole number",
    "bool": "true or false",
    "str": "text",
}


def typed(value: Any) -> str:
    """A default as it would be typed after ``--set method.options.KEY=``."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{','.join(map(typed, value))}]"
    return str(value)


def words(annotation: str) -> str:
    """``Length | None`` -> "whole number, 1 or more, or ``null``"; unknown types stay as they are."""
    return _words(ast.parse(annotation, mode="eval").body) if annotation else ""


def _words(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=None):
            return "``null``"
        case ast.Name(id=name) if name in NUMBERS:
            return NUMBERS[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{_words(left)}, or {_words(right)}"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=values):
            choices = [f"``{typed(ast.literal_eval(v))}``" for v in _items(values)]
            return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1])))
        case ast.Subscript(value=ast.Name(id="tuple" | "list"), slice=values):
            return f"[{', '.join(map(_words, _items(values)))}]"
        case ast.Subscript(value=ast.Name(id="Mapping")):
            return "{name: value, …}"
        case ast.Constant(value=value) if value is ...:
            return "…"
    return ast.unparse(node)


def _items(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


FOLDER = Path(__file__).parent
METRICS = ("dice", "jaccard", "hd95", "asd")

Row = dict[str, str]


def published(method: str | None = None) -> list[Row]:
    """Rows of ``published.csv``, of one method or of all; Dice and Jaccard in percent.

    Columns: ``method`` (also of methods that semiseg does not have), ``kind`` (empty: figures that stand for
    the method; ``rerun``: somebody else's run of it), ``dataset``, ``labeled``, ``unlabeled`` (in ``unit``:
    scans, patients or percent of the training scans), one per metric (empty: not given), ``unchecked`` (the
    metrics that were not compared with their source), ``setting`` (``option=value`` where it is one of
    ours), ``source``, ``comparable`` (``yes`` or ``no``: with an honest run of semiseg) and ``why``.
    """
    return _rows("published.csv", method)


def measured(method: str | None = None) -> list[Row]:
    """Rows of ``measured.csv``, which ``benchmarks/page.py`` writes; Dice in percent, distances in mm.

    A row is the mean of ``seeds`` runs of one ``table`` of docs/results.md, which has their settings;
    ``batch`` is how many images a network sees per step (empty: not recorded). ``*_sd`` is the deviation
    over seeds (empty for one seed). ``*_gain`` is the mean difference from the supervised runs of the same
    command, labels, iterations and seeds.
    """
    return _rows("measured.csv", method)


def when(method: str) -> Row:
    """``use`` and ``avoid``: when a method suits and when not; empty for a method from elsewhere."""
    return next(iter(_rows("when.csv", method)), {})


def _rows(name: str, method: str | None) -> list[Row]:
    path = FOLDER / name
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if method in (None, row["method"])]
