"""One table, rendered four ways: for the terminal, as Markdown, as LaTeX (booktabs) and as CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Value = float | int | str | None

DAGGER = "†"


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    Attributes:
        text: as a person reads it.
        values: column of the CSV -> the same with every digit; a cell may be several columns or none.
        best: the best of its column, set in bold.
        mark: such as a dagger, set high behind the text.
    """

    text: str
    values: Mapping[str, Value] = field(default_factory=dict)
    best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells with a title above and notes below.

    Attributes:
        title: one line.
        columns: the head, as long as every row.
        rows: what was found.
        notes: how to read it, one sentence each.
        rules: rows (counted from 0) after which a line is drawn.
        left: columns at the left that hold words; the others hold numbers and stand right.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    rules: frozenset[int] = frozenset()
    left: int = 1


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
    for i, name in enumerate(table.columns):
        drawn.add_column(Text(name), justify="left" if i < table.left else "right", overflow="fold")
    for i, row in enumerate(table.rows):
        cells = (Text(cell.text + cell.mark, style="bold" if cell.best else "") for cell in row)
        drawn.add_row(*cells, end_section=i in table.rules)
    return drawn


def markdown(table: Table) -> str:
    """A GitHub table under a heading, with the notes as a paragraph below."""
    align = ["---" if i < table.left else "---:" for i in range(len(table.columns))]
    rows = [[_bold_markdown(cell) for cell in row] for row in table.rows]
    lines = [[_pipe_safe(name) for name in table.columns], align, *rows]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    parts = [f"## {table.title}" if table.title else "", body, " ".join(table.notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(table: Table) -> str:
    r"""A ``table`` environment with a ``tabular`` of booktabs rules; needs ``\usepackage{booktabs}``."""
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_text(table.title)}}}",
        rf"\begin{{tabular}}{{{'l' * table.left}{'r' * (len(table.columns) - table.left)}}}",
        r"\toprule",
        " & ".join(map(latex_text, table.columns)) + r" \\",
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


def csv_text(tables: Iterable[Table]) -> str:
    """The values of several tables, one row for each row; what a table does not have is blank."""
    rows = [
        {key: value for cell in row for key, value in cell.values.items()} for t in tables for row in t.rows
    ]
    return csv_rows(rows)


def csv_rows(rows: Sequence[Mapping[str, Value]]) -> str:
    """Rows as CSV under all their keys, in the order of their first appearance; NaN and None are blank."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_field(row.get(key)) for key in columns] for row in rows)
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


def _bold_latex(cell: Cell) -> str:
    text = latex_text(cell.text)
    return (rf"\textbf{{{text}}}" if cell.best else text) + latex_text(cell.mark)


def _bold_markdown(cell: Cell) -> str:
    text = _pipe_safe(cell.text)
    return (f"**{text}**" if cell.best else text) + cell.mark


def _pipe_safe(text: str) -> str:
    return re.sub(r"([|*_`\\<])", r"\\\1", text)


def _field(value: Value) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)
