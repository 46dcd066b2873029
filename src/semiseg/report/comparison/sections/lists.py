"""Plain tables of the page: classes, pairs, published figures, settings, missing runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from semiseg.report.comparison.html import Child, Content, Markup, tag
from semiseg.report.comparison.words import DASH, digits, listed, number, p_value, titled

if TYPE_CHECKING:
    from semiseg.comparison.result import Board, Comparison, MissingCell


def classes(comparison: Comparison, board: Board) -> Markup | None:
    """Every metric of every class; None where there is one class only."""
    if len(board.classes) < 2:
        return None
    heads = [
        f"{titled(comparison, metric)}, {label}" for metric in comparison.metrics for label in board.classes
    ]
    rows = []
    for arm in board.arms:
        cells: list[Child] = [arm.name]
        for metric in comparison.metrics:
            for label in board.classes:
                summary, places = board.summary(arm.name, metric, label), digits(metric)
                spread = "" if math.isnan(summary.sd) else f" ± {number(summary.sd, places)}"
                cells.append(f"{number(summary.mean, places)}{spread}")
        rows.append(cells)
    return folded("By class", plain("Mean ± SD over seeds, by class", ["method", *heads], rows, texts=False))


def pairs(comparison: Comparison, board: Board) -> Markup | None:
    """The tests of all pairs; None where there is none."""
    if not board.pairs:
        return None
    places = digits(comparison.metric)
    rows: list[list[Child]] = [
        [
            f"{test.a} – {test.b}",
            number(test.difference, places, signed=True),
            f"{test.wins} / {test.ties} / {test.losses}",
            number(test.effect, 2, signed=True),
            p_value(test.p),
            p_value(test.p_holm),
        ]
        for test in board.pairs
    ]
    heads = [
        "pair",
        f"difference in {comparison.metric}",
        "wins / ties / losses",
        "rank-biserial r",
        "p",
        "p (Holm)",
    ]
    return folded(
        f"All {len(rows)} pairs in numbers",
        plain("Wilcoxon's signed-rank test of every pair", heads, rows, texts=False),
    )


def published(board: Board) -> Markup | None:
    """Every published figure with its source; None where there is none."""
    if not board.published:
        return None
    rows: list[list[Child]] = [
        [
            entry.arm,
            entry.metric,
            number(entry.value, digits(entry.metric)),
            number(entry.gap, digits(entry.metric), signed=True),
            "yes" if entry.comparable else f"no: {entry.why}",
            entry.setting or DASH,
            entry.source,
        ]
        for entry in board.published
    ]
    heads = ["method", "metric", "published", "ours minus it", "comparable", "setting", "source"]
    return folded("Published figures and their sources", plain("What papers reported", heads, rows))


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
    return _framed(
        "Settings, versions and hardware that differ", ["setting", "value", "methods"], blocks, texts=True
    )


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


def plain(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[Child]], *, texts: bool = True
) -> Markup:
    """A table whose rows begin with their head.

    Args:
        caption: above it.
        heads: of the columns.
        rows: their cells.
        texts: whether cells may break anywhere to fit a narrow screen; numbers must not.
    """
    body = [tag("tr", tag("th", row[0], scope="row"), [tag("td", cell) for cell in row[1:]]) for row in rows]
    return _framed(caption, heads, tag("tbody", body), texts=texts)


def _framed(caption: str, heads: Sequence[str], body: Content, *, texts: bool) -> Markup:
    """A table inside a box that scrolls; texts break anywhere to fit, numbers do not."""
    return tag(
        "div",
        tag(
            "table",
            tag("caption", tag("span", caption)),
            tag("thead", tag("tr", [tag("th", head, scope="col") for head in heads])),
            body,
            class_="texts" if texts else None,
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def folded(summary: str, *content: Child) -> Markup:
    """Something that opens when asked for."""
    return tag("details", tag("summary", summary), content)


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
