"""One table, rendered for the terminal, as Markdown, as LaTeX (booktabs) and as CSV; as HTML by templates."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from semiseg.drawing.notebook import Tabular

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Value = float | int | str | None

T = TypeVar("T")

DAGGER = "†"
STYLES = {"running": "yellow", "failed": "red", "dead": "red"}
"""State of a cell -> its color on the terminal."""

SHORT = 24
"""Characters of a name that is not broken on the terminal."""


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Attributes:
        title: one line.
        number: whether it holds numbers, which stand right.
        key: the value of its cells that sorts the rows (of :attr:`TableCell.values`); blank: their text.
        descending: whether a reader wants the largest first.
        below: small print below the title, in HTML.
    """

    title: str
    number: bool = True
    key: str = ""
    descending: bool = False
    below: str = ""


@dataclass(frozen=True)
class TableCell:
    """What stands in one place of a table.

    Attributes:
        text: as a person reads it.
        values: column of the CSV -> the same with every digit; a cell may be several columns or none.
        best: the best of its column, set in bold.
        mark: such as a dagger, set high behind the text.
        small: lines of small print below, in HTML.
        state: what the cell says, such as ``better`` or ``failed``: its color on the terminal, its class in
            HTML. That of a row's first cell is the row's.
    """

    text: str
    values: Mapping[str, Value] = field(default_factory=dict)
    best: bool = False
    mark: str = ""
    small: tuple[str, ...] = ()
    state: str = ""


@dataclass(frozen=True)
class Table(Tabular):
    """Rows of cells with a title above and notes below.

    Attributes:
        title: one line.
        columns: the head, as long as every row.
        rows: what was found.
        notes: how to read it, one sentence each.
        rules: rows (counted from 0) after which a line is drawn.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    notes: tuple[str, ...] = ()
    rules: frozenset[int] = frozenset()

    def tables(self) -> Sequence[Table]:
        """Itself."""
        return [self]

    def records(self) -> list[dict[str, Any]]:
        """Its rows: the values of their cells, or the text of a cell that has none."""
        titles = [column.title for column in self.columns]
        found: list[dict[str, Any]] = []
        for row in self.rows:
            found.append({})
            for title, cell in zip(titles, row, strict=True):
                found[-1].update(cell.values or {title: cell.text})
        return found

    def _repr_html_(self) -> str:
        return html(self)

    def sort_key(self, row: int, column: int) -> float | str:
        """What a row is sorted by; blank for NaN and None, which stay last, and 1e300 for infinity."""
        cell, key = self.rows[row][column], self.columns[column].key
        value = cell.values.get(key) if key else cell.text
        if value is None or isinstance(value, str):
            return value or ""
        return "" if math.isnan(value) else max(-1e300, min(value, 1e300))


def table_of(
    title: str,
    items: Iterable[T],
    columns: Iterable[tuple[Column | str, Callable[[T], TableCell | str]]],
    notes: Iterable[str] = (),
    rules: Iterable[int] = (),
    left: int = 1,
) -> Table:
    """A table with a row for each item, each column made by a function of the item."""
    titles, makers = zip(*columns, strict=True)
    cells = (tuple(make(item) for make in makers) for item in items)
    rows = tuple(tuple(TableCell(c) if isinstance(c, str) else c for c in row) for row in cells)
    return Table(title, heads(titles, left), rows, tuple(notes), frozenset(rules))


def heads(titles: Iterable[Column | str], left: int = 1) -> tuple[Column, ...]:
    """Heads of columns; of those that are no more than a title, the first ``left`` hold words."""
    return tuple(t if isinstance(t, Column) else Column(t, number=i >= left) for i, t in enumerate(titles))


def terminal(table: Table) -> RichTable:
    """The table for the console; the best cells are bold."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(
        title=Text(table.title),
        caption=Text("\n".join(table.notes)),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for i, column in enumerate(table.columns):
        # Short names stay whole as long as numbers (at their spaces) and long texts can be broken instead.
        short = not column.number and all(len(row[i].text) <= SHORT for row in table.rows)
        justify: Literal["left", "right"] = "right" if column.number else "left"
        drawn.add_column(
            Text(column.title), justify=justify, no_wrap=short, overflow="ellipsis" if short else "fold"
        )
    for i, row in enumerate(table.rows):
        cells = (Text(c.text + c.mark, "bold" if c.best else STYLES.get(c.state, "")) for c in row)
        drawn.add_row(*cells, end_section=i in table.rules)
    return drawn


def markdown(table: Table) -> str:
    """A GitHub table under a heading, with the notes as a paragraph below."""
    align = ["---:" if column.number else "---" for column in table.columns]
    rows = [[_bold_markdown(cell) for cell in row] for row in table.rows]
    lines = [[_pipe_safe(column.title) for column in table.columns], align, *rows]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    parts = [f"## {table.title}" if table.title else "", body, " ".join(table.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(table: Table) -> str:
    r"""A ``table`` environment with a ``tabular`` of booktabs rules; needs ``\usepackage{booktabs}``."""
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_text(table.title)}}}",
        rf"\begin{{tabular}}{{{''.join('r' if column.number else 'l' for column in table.columns)}}}",
        r"\toprule",
        " & ".join(latex_text(column.title) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    for i, row in enumerate(table.rows):
        lines.append(" & ".join(map(_bold_latex, row)) + r" \\")
        if i in table.rules and i + 1 < len(table.rows):
            lines.append(r"\midrule")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        lines += ["", rf"\smallskip{{\footnotesize {' '.join(map(latex_text, table.notes))}}}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


_COLORS = {"failed": "#b00020", "dead": "#b00020", "error": "#b00020", "warning": "#8a5a00"}
"""State of a cell -> its color in a notebook."""


def html(table: Table) -> str:
    """A table as HTML that needs no style sheet; every text is escaped."""
    heads = "".join(
        f'<th style="text-align:{_side(column.number)}">{escape(column.title)}</th>'
        for column in table.columns
    )
    body = "".join(
        "<tr>"
        + "".join(_html_cell(cell, column.number) for cell, column in zip(row, table.columns, strict=True))
        + "</tr>"
        for row in table.rows
    )
    title = f"<caption style='text-align:left'><b>{escape(table.title)}</b></caption>" if table.title else ""
    notes = f"<p><small>{escape(' '.join(table.notes))}</small></p>" if table.notes else ""
    return f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>{notes}"


def _html_cell(cell: TableCell, number: bool) -> str:
    text = escape(cell.text).replace("\n", "<br>") + escape(cell.mark)
    color = f";color:{_COLORS[cell.state]}" if cell.state in _COLORS else ""
    weight = ";font-weight:bold" if cell.best else ""
    return f'<td style="text-align:{_side(number)}{color}{weight}">{text}</td>'


def _side(number: bool) -> str:
    return "right" if number else "left"


def csv_text(tables: Iterable[Table]) -> str:
    """The values of several tables, one row for each row; what a table does not have is blank."""
    rows = [
        {key: value for cell in row for key, value in cell.values.items()} for t in tables for row in t.rows
    ]
    return csv_rows(rows)


def csv_rows(rows: Sequence[Mapping[str, Value]], columns: Sequence[str] = ()) -> str:
    """Rows as CSV; NaN and None are blank."""
    text = io.StringIO()
    columns = columns or list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    values = ([row.get(key) for key in columns] for row in rows)
    writer.writerows(["" if isinstance(v, float) and math.isnan(v) else v for v in row] for row in values)
    return text.getvalue()


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    "\N{MINUS SIGN}": "$-$",
    "–": "--",
    "×": r"$\times$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "Δ": r"$\Delta$",
}


def latex_text(text: str) -> str:
    """Text as LaTeX prints it, special characters escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def _bold_latex(cell: TableCell) -> str:
    text = latex_text(cell.text)
    return (rf"\textbf{{{text}}}" if cell.best else text) + latex_text(cell.mark)


def _bold_markdown(cell: TableCell) -> str:
    text = _pipe_safe(cell.text)
    return (f"**{text}**" if cell.best else text) + cell.mark


def _pipe_safe(text: str) -> str:
    return re.sub(r"([|*_`\\<])", r"\\\1", text)
