"""The type of an option in words that say what may be typed."""

from __future__ import annotations

import ast
from typing import Any

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
