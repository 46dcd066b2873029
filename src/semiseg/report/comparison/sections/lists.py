"""Plain tables of the page: those of the other formats, settings that differ, missing runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from semiseg.report.comparison.html import Child, Content, Markup, tag
from semiseg.report.comparison.words import DASH, listed

if TYPE_CHECKING:
    from semiseg.comparison.result import Board, MissingCell
    from semiseg.report.table import Table


def folded_table(table: Table | None, summary: str) -> Markup | None:
    """One of the tables that are also written as CSV and Markdown, to be opened when asked for.

    Args:
        table: None: nothing.
        summary: what one clicks on.
    """
    if table is None:
        return None
    heads = [tag("th", name, scope="col", class_=_aligned(table, i)) for i, name in enumerate(table.columns)]
    rows = []
    for cells in table.rows:
        first, *others = cells
        shown = [
            tag("td", tag("b", cell.text) if cell.best else cell.text, cell.mark, class_=_aligned(table, i))
            for i, cell in enumerate(others, start=1)
        ]
        head = tag("th", first.text, first.mark, scope="row") if first.text else tag("td")
        rows.append(tag("tr", head, shown))
    body = [tag("thead", tag("tr", heads)), tag("tbody", rows)]
    return folded(summary, _framed(" ".join((f"{table.title}.", *table.notes)), body, texts=False))


def _aligned(table: Table, column: int) -> str | None:
    return "number" if column >= table.left else None


def settings(board: Board) -> Markup:
    """Where the arms differ: one block of rows per setting, one row per value."""
    if not board.differences:
        return tag("p", "The arms differ in nothing but their method.", class_="note")
    blocks = []
    for entry in board.differences:
        by_value: dict[str, list[str]] = {}
        for name, values in entry.values.items():
            by_value.setdefault(" | ".join(_shown(value) for value in values), []).append(name)
        usual = next((value for value, names in by_value.items() if 2 * len(names) > len(entry.values)), None)
        cells = [
            [tag("td", value), tag("td", "all others" if value == usual else listed(names, most=40))]
            for value, names in sorted(by_value.items(), key=lambda item: item[0] == usual)
        ]
        named = tag("th", entry.key, scope="rowgroup", rowspan=len(cells))
        first, *others = cells
        blocks.append(tag("tbody", tag("tr", named, first), [tag("tr", row) for row in others]))
    heads = _heads(["setting", "value", "methods"])
    return _framed("Settings, versions and hardware that differ", [heads, *blocks], texts=True)


def missing(cells: Sequence[MissingCell]) -> Markup:
    """What should be in the tables and is not, and the command that would fill it."""
    if not cells:
        return tag("p", "No run is missing.", class_="note")
    rows: list[list[Child]] = [
        [
            cell.name,
            cell.dataset,
            "all" if cell.labeled is None else str(cell.labeled),
            f"{cell.fold} / {cell.seed}",
            cell.reason,
            tag("code", cell.command) if cell.command else DASH,
        ]
        for cell in cells
    ]
    heads = ["method", "dataset", "labeled", "fold / seed", "why", "what would fill it"]
    return plain("Runs that should be in the tables and are not", heads, rows)


def plain(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Child]]) -> Markup:
    """A table of texts whose rows begin with their head."""
    body = [tag("tr", tag("th", row[0], scope="row"), [tag("td", cell) for cell in row[1:]]) for row in rows]
    return _framed(caption, [_heads(heads), tag("tbody", body)], texts=True)


def _heads(names: Sequence[str]) -> Markup:
    return tag("thead", tag("tr", [tag("th", name, scope="col") for name in names]))


def _framed(caption: str, content: Content, *, texts: bool) -> Markup:
    """A table inside a box that scrolls; texts break anywhere to fit a narrow screen, numbers do not."""
    class_ = "texts" if texts else None
    return tag(
        "div",
        tag("table", tag("caption", tag("span", caption)), content, class_=class_),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption.split(".")[0],
    )


def folded(summary: str, *content: Child) -> Markup:
    """Something that opens when asked for."""
    return tag("details", tag("summary", summary), content)


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
