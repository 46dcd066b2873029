"""A class in a source file, read without importing it: which one, its constructor, its targets."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def find_class(path: Path, name: str = "") -> ast.ClassDef | None:
    """The class called ``name``, else the one whose docstring has ``Paper:``, else the last."""
    classes = [node for node in _parse(path).body if isinstance(node, ast.ClassDef)]
    if name:
        classes = [node for node in classes if node.name == name]
    described = [node for node in classes if "Paper: " in (ast.get_docstring(node) or "")]
    return next(iter([*described, *reversed(classes)]), None)


def keyword_only(node: ast.ClassDef, path: Path) -> Iterator[tuple[str, str, Any]]:
    """Name, annotation and default of the constructor's keyword-only arguments, its own first.

    A default that is no literal is given as its source text.
    """
    told: set[str] = set()
    for kind in lineage(node, path):
        for item in _constructor(kind):
            for argument, default in zip(item.args.kwonlyargs, item.args.kw_defaults, strict=True):
                if argument.arg not in told:
                    told.add(argument.arg)
                    annotation = ast.unparse(argument.annotation) if argument.annotation else ""
                    yield argument.arg, annotation, _value(default)


def lineage(node: ast.ClassDef, path: Path) -> Iterator[ast.ClassDef]:
    """The class, and the bases beside it whose options it has because it passes ``**more`` on.

    So does a class without a constructor of its own.
    """
    yield node
    own = _constructor(node)
    base = _base(node, path) if not own or own[0].args.kwarg else None
    if base:
        yield from lineage(*base)


def targets(node: ast.ClassDef) -> tuple[str, ...]:
    """Every name in a tuple that is assigned to ``targets``, on the class or on an instance."""
    names: dict[str, None] = {}
    for item in ast.walk(node):
        if isinstance(item, ast.Assign | ast.AnnAssign) and item.value and "targets" in _assigned(item):
            for part in ast.walk(item.value):
                if isinstance(part, ast.Tuple):
                    names |= {str(e.value): None for e in part.elts if isinstance(e, ast.Constant)}
    return tuple(names)


def _parse(path: Path) -> ast.Module:
    return _tree(path.read_text(encoding="utf-8"))


@functools.cache
def _tree(text: str) -> ast.Module:
    """Of the text, not of the path: the bases of all methods are the same few, and a file may change."""
    return ast.parse(text)


def _constructor(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]


def _base(node: ast.ClassDef, path: Path) -> tuple[ast.ClassDef, Path] | None:
    """The first base class that is imported from a file of the same folder."""
    modules = {
        alias.name: item.module.rpartition(".")[2]
        for item in _parse(path).body
        if isinstance(item, ast.ImportFrom) and item.module
        for alias in item.names
    }
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in modules:
            beside = path.with_name(f"{modules[base.id]}.py")
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
