"""Where a command's words go: results on stdout (text, or one JSON object), all else on stderr."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Output:
    """How a command may speak. Commands get one as ``out``.

    Attributes:
        json: one JSON object on stdout instead of text.
        verbosity: 0 normal; 1 with debug lines and tracebacks; -1 warnings only; -2 errors only.
        progress: whether progress bars may be drawn.
        arguments: the command line, for hints.
    """

    json: bool = False
    verbosity: int = 0
    progress: bool = True
    arguments: tuple[str, ...] = ()

    @classmethod
    def guess(cls, arguments: Sequence[str]) -> Output:
        """Read the flags from a raw command line, so that even a parse error is told in the asked form."""
        flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
        louder = sum(flags.count(flag) for flag in ("-v", "--verbose"))
        quieter = sum(flags.count(flag) for flag in ("-q", "--quiet"))
        progress = "--no-progress" not in flags and progress_wanted()
        return cls("--json" in flags, louder - quieter, progress, tuple(arguments))

    def result(self, data: Mapping[str, Any], text: Any = "") -> None:
        """Say what the command found: ``data`` with ``--json``, else ``text`` (str or rich renderable)."""
        if self.json:
            self.write(json.dumps({"ok": True, **plain(data)}, indent=1))
        else:
            self.text(text)

    def text(self, text: Any) -> None:
        """Print a string or a rich renderable on stdout; nothing with ``--json``."""
        if self.json or text == "":
            return
        if isinstance(text, str):
            self.write(printable(text))
            return
        from rich.console import Console

        # A pipe gets lines as long as they need to be; a terminal is wrapped at its own width.
        console = Console() if sys.stdout.isatty() else Console(width=160, no_color=True)
        console.print(text)

    def write(self, line: str) -> None:
        """One line, or several, on stdout."""
        sys.stdout.write(line + "\n")


def printable(text: str) -> str:
    """``text`` without control characters: names from files must not steer somebody's terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t " else repr(c)[1:-1] for c in text)


def progress_wanted() -> bool:
    """Bars only where someone can see them move."""
    silenced = os.environ.get("SEMISEG_NO_PROGRESS", "").lower() not in ("", "0", "false", "no", "off")
    return sys.stderr.isatty() and not silenced


def plain(value: Any) -> Any:
    """``value`` as JSON knows it: paths as text, NaN and infinity as null, arrays and sets as lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Iterable) and not isinstance(value, Path):
        return [plain(item) for item in value]
    return str(value)


def columns(rows: Iterable[Sequence[str]], gap: int = 2) -> str:
    """Rows of text as aligned columns; the last one is not padded."""
    table = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]) - 1)] if table else []
    lines = []
    for row in table:
        cells = [cell.ljust(width + gap) for cell, width in zip(row, widths, strict=False)]
        lines.append("".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)
