"""Log lines of the ``semiseg`` tree for people, on stderr. Files of a run are the run's own business."""

from __future__ import annotations

import logging
import os
import sys

from semiseg.cli.output import Output, printable
from semiseg.errors import unknown_name

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_OURS = "semiseg-console"


class _Lines(logging.Formatter):
    """``warning: text`` for what matters, bare text for the rest, and no traceback unless debugging."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return prefix + printable(super().format(record))


def start(output: Output) -> None:
    """Send ``semiseg.*`` records to stderr at the asked level; calling again replaces the old handler.

    Raises:
        UsageError: ``SEMISEG_LOG_LEVEL`` names no level.
    """
    level = level_of(output)
    stop()
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


def stop() -> None:
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
