"""A progress bar in a notebook, drawn with what every notebook has."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from html import escape
from importlib import import_module
from typing import Any

_SECONDS = 0.2
"""Between two drawings."""
_LINES = 6
"""Of what was said last, below the bar."""


def in_notebook() -> bool:
    """Whether this is a notebook's process, where someone may look; IPython in a terminal is none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    silenced = os.environ.get("SEMISEG_NO_PROGRESS", "").lower() not in ("", "0", "false", "no", "off")
    return type(shell).__name__ == "ZMQInteractiveShell" and not silenced


def notebook_bar(what: str) -> NotebookBar | None:
    """A bar to be called with (done, total), in a notebook; None elsewhere."""
    return NotebookBar(what) if in_notebook() else None


class NotebookBar:
    """One bar in the output of a cell, drawn anew in its place.

    Args:
        what: stands before it.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._handle: Any = None
        self._drawn = 0.0

    def __call__(self, done: int, total: int, text: str = "", lines: Sequence[str] = ()) -> None:
        """Show how far it is, now and then, and always at the end."""
        now = time.monotonic()
        if now - self._drawn < _SECONDS and done < total:
            return
        self._drawn = now
        self.draw(done, total, text, lines)

    def draw(self, done: int, total: int, text: str = "", lines: Sequence[str] = ()) -> None:
        """Show it now."""
        shown: Any = import_module("IPython.display")  # it has no types
        content = shown.HTML(bar_html(self.what, done, total, text, lines))
        if self._handle is None:
            self._handle = shown.display(content, display_id=True)
        else:
            self._handle.update(content)


def bar_html(what: str, done: int, total: int, text: str = "", lines: Sequence[str] = ()) -> str:
    """The bar with a line of text behind it and more below; every text is escaped."""
    below = "".join(f"<div><small>{escape(line)}</small></div>" for line in lines[-_LINES:])
    count = f"{done} of {total}" if total else ""
    return (
        f"<div>{escape(what)} <progress value='{done}' max='{max(total, 1)}'></progress> {count} "
        f"<small>{escape(text)}</small></div>{below}"
    )
