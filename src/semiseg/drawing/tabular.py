"""Results that show themselves in a notebook as tables, and that pandas can take over."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from semiseg.errors import UsageError

if TYPE_CHECKING:
    from semiseg.drawing.table import Table, TableCell

_STATES = {"failed": "#b00020", "dead": "#b00020", "error": "#b00020", "warning": "#8a5a00"}
"""State of a cell -> its color."""


class Tabular:
    """A result with tables: notebooks show them, :meth:`to_frame` gives their rows to pandas."""

    shown_by: ClassVar[str] = ""
    """The module whose ``tables_of`` and ``records_of`` make them of a result that knows nothing of it."""

    def tables(self) -> Sequence[Table]:
        """What a reader sees, the most important first."""
        found: Sequence[Table] = import_module(self.shown_by).tables_of(self)
        return found

    def records(self) -> list[dict[str, Any]]:
        """The rows of :meth:`to_frame`: by default those of the first table, with every digit."""
        if self.shown_by:
            found: list[dict[str, Any]] = import_module(self.shown_by).records_of(self)
            return found
        return [row_of(row, columns) for columns, row in _rows(self.tables()[:1])]

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame.

        Raises:
            UsageError: pandas is not installed.
        """
        return frame_of(self.records())

    def _repr_html_(self) -> str:
        return "".join(html(table) for table in self.tables())


def frame_of(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as a pandas DataFrame.

    Raises:
        UsageError: pandas is not installed.
    """
    if importlib.util.find_spec("pandas") is None:
        raise UsageError(
            "to_frame needs pandas, which is not installed", hint="pip install pandas", code="MISSING_EXTRA"
        )
    import pandas

    return pandas.DataFrame([dict(row) for row in rows])


def row_of(cells: Sequence[TableCell], titles: Sequence[str]) -> dict[str, Any]:
    """Column -> value of one row: the values of its cells, or their text where they have none."""
    found: dict[str, Any] = {}
    for title, cell in zip(titles, cells, strict=True):
        found |= dict(cell.values) or {title: cell.text}
    return found


def _rows(tables: Sequence[Table]) -> list[tuple[list[str], Sequence[TableCell]]]:
    return [([column.title for column in table.columns], row) for table in tables for row in table.rows]


def html(table: Table) -> str:
    """A table as HTML that needs no style sheet; every text is escaped."""
    heads = "".join(
        f'<th style="text-align:{_side(column.number)}">{escape(column.title)}</th>'
        for column in table.columns
    )
    body = "".join(
        "<tr>"
        + "".join(_cell(cell, column.number) for cell, column in zip(row, table.columns, strict=True))
        + "</tr>"
        for row in table.rows
    )
    title = f"<caption style='text-align:left'><b>{escape(table.title)}</b></caption>" if table.title else ""
    notes = f"<p><small>{escape(' '.join(table.notes))}</small></p>" if table.notes else ""
    return f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>{notes}"


def _cell(cell: TableCell, number: bool) -> str:
    text = escape(cell.text).replace("\n", "<br>") + escape(cell.mark)
    color = f";color:{_STATES[cell.state]}" if cell.state in _STATES else ""
    weight = ";font-weight:bold" if cell.best else ""
    return f'<td style="text-align:{_side(number)}{color}{weight}">{text}</td>'


def _side(number: bool) -> str:
    return "right" if number else "left"
