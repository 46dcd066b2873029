"""Results that show themselves in a notebook as tables, and that pandas can take over."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Protocol

from semiseg.errors import UsageError


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
        """The rows as a pandas DataFrame.

        Raises:
            UsageError: pandas is not installed.
        """
        return frame_of(self.records())

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self.tables())


def frame_of(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as a pandas DataFrame.

    Raises:
        UsageError: pandas is not installed.
    """
    if importlib.util.find_spec("pandas") is None:
        raise UsageError(
            "to_frame needs pandas, which is not installed", hint="pip install pandas", code="MISSING_EXTRA"
        )
    return import_module("pandas").DataFrame([dict(row) for row in rows])
