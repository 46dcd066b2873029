"""What a command prints: results on stdout (text, or one JSON object); log lines and progress on stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from semiseg.errors import unknown_name
from semiseg.machine import files


@dataclass
class Output:
    """Prints what a command has found, in the form that its flags ask for. Commands get one as ``out``.

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
            self.write(json.dumps({"ok": True, **files.plain(data)}, indent=1))
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
        with console.capture() as drawn:
            console.print(text)
        sys.stdout.write(spelled(drawn.get(), sys.stdout.encoding))

    def flush(self) -> None:
        """Let a reader of a pipe have what was said so far."""
        sys.stdout.flush()

    def write(self, line: str) -> None:
        """One line, or several, on stdout."""
        sys.stdout.write(spelled(line, sys.stdout.encoding) + "\n")


_SPELLED = str.maketrans({"±": "+-", "…": "...", "×": "x", "–": "-", "−": "-", "²": "2", "µ": "u"})


def spelled(text: str, encoding: str | None) -> str:
    """``text`` with ``±`` and its kin in letters where a terminal does not have them."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return text.translate(_SPELLED)
    return text


def printable(text: str) -> str:
    """A message of one or more lines without control characters."""
    return files.printable(text, keep="\n\t")


def progress_wanted() -> bool:
    """Whether progress bars are drawn: on a terminal, unless ``SEMISEG_NO_PROGRESS`` is set."""
    silenced = os.environ.get("SEMISEG_NO_PROGRESS", "").lower() not in ("", "0", "false", "no", "off")
    return sys.stderr.isatty() and not silenced


def columns(rows: Iterable[Sequence[str]], gap: int = 2) -> str:
    """Rows of text as aligned columns; the last one is not padded."""
    table = [list(row) for row in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]) - 1)] if table else []
    lines = []
    for row in table:
        cells = [cell.ljust(width + gap) for cell, width in zip(row, widths, strict=False)]
        lines.append("".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)


Tick = Callable[[int, int], None]
SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def counted(out: Output, what: str) -> Iterator[Tick]:
    """A ``tick(done, total)`` that draws a progress bar on a terminal; else prints a line now and then."""
    if out.verbosity < 0:
        yield lambda done, total: None
    elif not out.progress:
        yield _lines(what)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        layout = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*layout, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str) -> Tick:
    said = time.monotonic()

    def tick(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            sys.stderr.write(f"{what}: {done} of {total}\n")

    return tick


LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_OURS = "semiseg-console"


class _Lines(logging.Formatter):
    """``warning: text`` for what matters, bare text for the rest, and no traceback unless debugging."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return prefix + printable(super().format(record))


def start_logging(output: Output) -> None:
    """Send ``semiseg.*`` records to stderr at the asked level; calling again replaces the old handler.

    Raises:
        UsageError: ``SEMISEG_LOG_LEVEL`` names no level.
    """
    level = level_of(output)
    stop_logging()
    handler = _handler()
    handler.setLevel(level)
    handler.set_name(_OURS)
    logging.getLogger("semiseg").addHandler(handler)
    # A run's log file may want INFO while the console is quiet: the handlers choose, not the logger.
    logging.getLogger("semiseg").setLevel(min(level, logging.INFO))
    # Libraries' deprecation notes are for us, not for users: shown with -v only.
    logging.captureWarnings(True)
    logging.raiseExceptions = output.verbosity > 0  # a line that cannot be written is not worth a traceback
    if output.verbosity > 0:
        logging.getLogger("py.warnings").addHandler(handler)


def stop_logging() -> None:
    """Leave logging as :func:`start` found it."""
    logging.captureWarnings(False)
    logging.raiseExceptions = True
    for name in ("semiseg", "py.warnings"):
        logger = logging.getLogger(name)
        for handler in [h for h in logger.handlers if h.get_name() == _OURS]:
            logger.removeHandler(handler)


def level_of(output: Output) -> int:
    """``-q``/``-v`` first, else ``SEMISEG_LOG_LEVEL``, else INFO."""
    if output.verbosity:
        return {1: logging.DEBUG, -1: logging.WARNING}.get(max(-2, min(1, output.verbosity)), logging.ERROR)
    name = os.environ.get("SEMISEG_LOG_LEVEL", "INFO").strip().upper() or "INFO"
    if name not in LEVELS:
        raise unknown_name("SEMISEG_LOG_LEVEL", name, LEVELS)
    return int(getattr(logging, name))


def _handler() -> logging.Handler:
    if not sys.stderr.isatty():
        plain = logging.StreamHandler(sys.stderr)
        plain.setFormatter(_Lines("%(message)s"))
        return plain
    from rich.console import Console
    from rich.logging import RichHandler

    rich = RichHandler(
        console=Console(stderr=True), show_time=False, show_path=False, show_level=False, markup=False
    )
    rich.setFormatter(_Lines("%(message)s"))
    return rich
