"""Results in a notebook: a progress bar, and tables that pandas can take over."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Mapping, Sequence
from html import escape
from importlib import import_module
from typing import Any, ClassVar, Protocol

from semiseg.errors import UsageError

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
    """One bar in the output of a cell, drawn anew in its place."""

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


class Shown(Protocol):
    """A table, such as :class:`semiseg.drawing.table.Table`."""

    def records(self) -> list[dict[str, Any]]:
        """Its rows, column -> value."""

    def _repr_html_(self) -> str: ...


class Tabular:
    """A result with tables: notebooks show them, :meth:`to_frame` gives their rows to pandas."""

    shown_by: ClassVar[str] = ""
    """The module whose ``tables_of`` and ``records_of`` make them of a result that knows nothing of it."""

    def tables(self) -> Sequence[Shown]:
        """What a reader sees, the most important first."""
        found: Sequence[Shown] = import_module(self.shown_by).tables_of(self)
        return found

    def records(self) -> list[dict[str, Any]]:
        """The rows of :meth:`to_frame`: by default those of the first table, with every digit."""
        if self.shown_by:
            found: list[dict[str, Any]] = import_module(self.shown_by).records_of(self)
            return found
        return self.tables()[0].records()

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame (UsageError: pandas is not installed)."""
        return frame_of(self.records())

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self.tables())


def frame_of(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as a pandas DataFrame (UsageError: pandas is not installed)."""
    if importlib.util.find_spec("pandas") is None:
        raise UsageError(
            "to_frame needs pandas, which is not installed", hint="pip install pandas", code="MISSING_EXTRA"
        )
    return import_module("pandas").DataFrame([dict(row) for row in rows])
