"""Every error code of the package, with its messages and fixes, read from the source: nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "semiseg"
EXITS = {"SemisegError": 1, "UsageError": 2, "DataError": 3, "DeviceError": 4, "PartialError": 5}
REPORTS = {"Problem", "_report", "report", "broken", "_refused", "_refusal", "_error", "_problem", "fault"}
"""Calls whose first words are a code; all of them tell what is wrong with a file or a dataset (exit 3)."""
CODE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")
GROUPS = {
    "Files and images": ("images", "prediction/scans.py", "prediction/record.py"),
    "Datasets, labels and splits": ("dataset", "preparation", "labeling"),
    "Training, models and prediction": (
        "training",
        "runs",
        "methods",
        "networks",
        "prediction",
        "batches",
        "inference",
    ),
    "Evaluation and comparison": ("evaluation", "comparison"),
    "Sweeps and tuning": ("sweeping", "tuning"),
    "Commands and settings": ("",),
}
"""Heading -> beginnings of paths below the package."""


@dataclass
class Code:
    """One code: exit codes, messages with ``…`` for what differs, and fixes, each once."""

    name: str
    exits: dict[int, None] = field(default_factory=dict)
    messages: dict[str, None] = field(default_factory=dict)
    fixes: dict[str, None] = field(default_factory=dict)
    path: str = ""


def collect() -> dict[str, Code]:
    """Name -> code, sorted."""
    found: dict[str, Code] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        _put_in_texts(tree)
        for call in ast.walk(tree):
            if isinstance(call, ast.Call):
                for name, exit_code, message, fix in _told(call):
                    code = found.setdefault(name, Code(name, path=path.relative_to(SOURCE).as_posix()))
                    code.exits[exit_code] = None
                    if message:
                        code.messages[message] = None
                    if fix:
                        code.fixes[fix] = None
    return dict(sorted(found.items()))


def _put_in_texts(tree: ast.Module) -> None:
    """Replace variables in calls by the literal text that their function gave them last before."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in reversed(functions):  # inner ones first
        texts: dict[str, list[tuple[int, ast.expr]]] = {}
        for node in ast.walk(function):
            for name, value in _assigned(node):
                texts.setdefault(name, []).append((value.end_lineno or 0, value))
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                node.args = [_of_name(arg, texts) for arg in node.args]
                for keyword in node.keywords:
                    keyword.value = _of_name(keyword.value, texts)


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, value
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
            yield from ((n.id, v) for n, v in zip(names, values, strict=False) if isinstance(n, ast.Name))


def _of_name(node: ast.expr, texts: dict[str, list[tuple[int, ast.expr]]]) -> ast.expr:
    if not isinstance(node, ast.Name):
        return node
    before = [value for line, value in texts.get(node.id, ()) if line < node.lineno and _text(value)]
    return before[-1] if before else node


def _told(call: ast.Call) -> Iterator[tuple[str, int, str, str]]:
    """What one call says: its code, exit code, message and fix."""
    kind = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    texts = [_text(argument) for argument in call.args]
    named = _text(keywords.get("code"))
    if kind == "unknown_name" and texts and texts[0].strip("…"):
        name = re.sub(r"[^A-Z]+", "_", texts[0].upper().replace("…", "")).strip("_")
        of = " …" if "of" in keywords else ""
        yield f"UNKNOWN_{name}", 2, f"unknown {texts[0]}{of} '…'. Did you mean '…'?", ""
        return
    if kind == "writing":
        yield "NOT_WRITABLE", 2, f"cannot write {texts[0] or '…'}: …", texts[1]
        return
    if kind not in EXITS and not named:
        named = next((text for text in texts if CODE.fullmatch(text)), "") if kind in REPORTS else ""
    if not CODE.fullmatch(named):
        return
    said = [text for text in texts if " " in text]
    fix = _text(keywords.get("hint")) or _text(keywords.get("fix"))
    if kind not in EXITS:
        fix = fix or (said[2] if len(said) > 2 else "")
    message = _text(keywords.get("text")) or (said[0] if said else "")
    yield named, EXITS.get(kind, 3), message, fix


def _text(node: ast.expr | None) -> str:
    """The text of a literal, ``…`` in the place of what is put in; "" for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return _clean(text)
        case ast.JoinedStr(values=parts):
            return _clean("".join(p.value if isinstance(p, ast.Constant) else _put_in(p) for p in parts))
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _clean(_text(left) + _text(right))
        case ast.IfExp(body=body):
            return _text(body)
    return ""


def _put_in(part: ast.expr) -> str:
    """``…``, with the noun in the plural where it is put in with its number."""
    match part:
        case ast.FormattedValue(value=ast.Call(func=ast.Name(id="plural"), args=[_, noun, *many])):
            return f"… {_text(many[0]) if many else _text(noun) + 's'}"
    return "…"


def _clean(text: str) -> str:
    return re.sub(r"(?:… ?)+…", "…", " ".join(text.split()))


def markdown() -> str:
    """A section per group, an entry with an anchor per code."""
    codes = collect()
    parts: list[str] = []
    for heading, beginnings in GROUPS.items():
        mine = [code for code in codes.values() if code.path.startswith(beginnings)]
        for code in mine:
            del codes[code.name]
        parts += [f"### {heading}", *(_entry(code) for code in sorted(mine, key=lambda code: code.name))]
    return "\n\n".join(parts)


def _entry(code: Code) -> str:
    exits = ", ".join(str(number) for number in sorted(code.exits))
    lines = [f"#### `{code.name}` {{: #{code.name.lower()} }}", f"Exit code {exits}."]
    lines += [f"- {_escaped(message)}" for message in list(code.messages)[:3]]
    lines += [f"- Fix: {_escaped(fix)}" for fix in list(code.fixes)[:3]]
    head, *rest = lines
    return "\n".join([head, "", rest[0], "", *rest[1:]]).rstrip()


def _escaped(text: str) -> str:
    text = re.sub(r"([\\*_<>\[\]|#])", r"\\\1", text)
    return re.sub(
        r"`([^`]*)`", lambda match: f"`{re.sub(chr(92) * 2 + '(.)', chr(92) + '1', match[1])}`", text
    )
