"""The table of a board: one panel per metric, one row per arm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semiseg.report.comparison.html import Attribute, Child, Markup, join, tag
from semiseg.report.comparison.words import (
    DASH,
    Verdict,
    count,
    digits,
    lower_is_better,
    number,
    p_value,
    sampled,
    titled,
    verdict,
)

if TYPE_CHECKING:
    from semiseg.comparison.arm import Arm
    from semiseg.comparison.result import Board, Comparison, Published, Summary

VERDICTS: dict[Verdict, str] = {
    "better": "▲ better",
    "worse": "▼ worse",
    "open": "no difference shown",
    "baseline": "baseline",
    "bound": "upper bound",
    "untested": "not tested",
}


@dataclass(frozen=True)
class Cell:
    """A cell and what it is sorted by."""

    content: Child | list[Child]
    key: float | str
    """NaN stays last, whichever way a column is sorted."""
    class_: str = ""


@dataclass(frozen=True)
class Column:
    """The head of a column."""

    title: str
    below: str = ""
    """Small print."""
    first: str = "ascending"
    """The order of the first click."""
    number: bool = True


def table(comparison: Comparison, board: Board, metric: str) -> Markup:
    """The table of one metric.

    Args:
        comparison: gives the metric that is tested, units and alpha.
        board: one row per arm, in its order.
        metric: one of the comparison's.
    """
    columns, rows = _columns(comparison, board, metric), []
    best = _best(board, metric)
    for arm in board.arms:
        cells = list(_cells(comparison, board, arm, metric, best))
        rows.append(
            tag(
                "tr",
                tag("th", _named(arm), scope="row", data_key=arm.name),
                [_cell(cell) for cell in cells],
                class_="baseline" if arm.name == board.baseline else None,
            )
        )
    return tag(
        "div",
        tag(
            "table",
            tag("caption", tag("span", _caption(comparison, board, metric))),
            tag("thead", tag("tr", [_head(column) for column in columns])),
            tag("tbody", rows),
            class_="sortable",
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=f"Table of {metric}, {board.budget}",
    )


def _caption(comparison: Comparison, board: Board, metric: str) -> str:
    level = round(100 * (1 - comparison.alpha))
    seeds = "± SD over seeds (– for a single one)"
    text = f"{board.dataset}, {board.budget}: mean {metric} {seeds}, {level} % interval over cases."
    if metric == comparison.metric:
        return f"{text} Rank: mean over {sampled(board)}s, 1 is best."
    return f"{text} Only {comparison.metric} was tested."


def _columns(comparison: Comparison, board: Board, metric: str) -> list[Column]:
    up = "ascending" if lower_is_better(metric) else "descending"
    columns = [
        Column("method", number=False),
        Column(titled(comparison, metric), "mean ± SD, interval", up),
    ]
    if metric == comparison.metric:
        columns += [
            Column("difference", "to baseline", up),
            Column("p", "Holm"),
            Column("verdict", number=False),
            Column("wins", f"{sampled(board)}s", "descending"),
            Column("rank", "mean"),
        ]
    if _published(board, metric):
        columns.append(Column("published", "ours minus it", up))
    columns.append(Column("seeds", "", "descending"))
    return [*columns, *(Column(title, below) for title, below, *_ in _costs(board))]


def _cells(comparison: Comparison, board: Board, arm: Arm, metric: str, best: str) -> Iterator[Cell]:
    summary, places = board.summary(arm.name, metric), digits(metric)
    spread = f" ± {number(summary.sd, places)}"
    text = number(summary.mean, places) + ("" if math.isnan(summary.mean) else spread)
    below = [tag("small", _interval(summary, places)), _undefined(summary)]
    yield Cell([text, *below], summary.mean, "best" if arm.name == best else "")
    if metric == comparison.metric:
        yield from _tested(comparison, board, arm, places)
    if _published(board, metric):
        yield _published_cell([entry for entry in _published(board, metric) if entry.arm == arm.name], places)
    folds = tag("small", count(len(arm.runs), "run")) if len(arm.runs) != len(arm.seeds) else None
    yield Cell([str(len(arm.seeds)), folds], len(arm.seeds))
    for _, _, attribute, decimals, scale in _costs(board):
        value = scale * getattr(arm.cost, attribute)
        yield Cell(number(value, decimals), value)


def _interval(summary: Summary, places: int) -> str:
    interval = summary.interval
    if math.isnan(interval.low):
        return interval.why_not
    return f"{number(interval.low, places)} to {number(interval.high, places)}"


def _undefined(summary: Summary) -> Markup | None:
    return tag("small", f"{count(summary.undefined, 'value')} undefined") if summary.undefined else None


def _tested(comparison: Comparison, board: Board, arm: Arm, places: int) -> Iterator[Cell]:
    found = verdict(board, arm, comparison.alpha)
    class_ = f"verdict {found}"
    test = board.test(arm.name) if arm.bound != "upper" else None
    if test is None:
        yield from (Cell(DASH, math.nan), Cell(DASH, math.nan))
        yield Cell(VERDICTS[found], found, class_)
        yield Cell(DASH, math.nan)
    else:
        low, high = (number(v, places, signed=True) for v in (test.interval.low, test.interval.high))
        between = None if math.isnan(test.interval.low) else tag("small", f"{low} to {high}")
        yield Cell([number(test.difference, places, signed=True), between], test.difference)
        yield Cell([p_value(test.p_holm), tag("small", test.why_not) if test.why_not else None], test.p_holm)
        yield Cell(VERDICTS[found], found, class_)
        ties = tag("small", count(test.ties, "tie")) if test.ties else None
        yield Cell([f"{test.wins} of {test.n}", ties], test.win_rate)
    rank = board.ranking.mean_ranks.get(arm.name, math.nan) if arm.bound != "upper" else math.nan
    yield Cell(number(rank, 2), rank)


def _published(board: Board, metric: str) -> list[Published]:
    return [entry for entry in board.published if entry.metric == metric]


def _published_cell(entries: list[Published], places: int) -> Cell:
    """The first comparable figure, else the first; the rest are in the list below the table."""
    if not entries:
        return Cell(DASH, math.nan)
    shown = next((entry for entry in entries if entry.comparable), entries[0])
    gap = number(shown.gap, places, signed=True)
    more = f", {len(entries) - 1} more" if len(entries) > 1 else ""
    state = f"gap {gap}{more}" if shown.comparable else f"gap {gap}, not comparable{more}"
    return Cell([number(shown.value, places), tag("small", state)], shown.value)


def _costs(board: Board) -> list[tuple[str, str, str, int, float]]:
    """(title, unit, attribute, decimals, scale) of what any arm recorded."""
    known = [
        ("step", "s", "step_seconds", 3, 1.0),
        ("training", "minutes", "minutes", 1, 1.0),
        ("peak memory", "GB", "memory_gb", 2, 1.0),
        ("parameters", "million", "parameters", 2, 1e-6),
    ]
    return [
        entry for entry in known if any(not math.isnan(getattr(arm.cost, entry[2])) for arm in board.arms)
    ]


def _best(board: Board, metric: str) -> str:
    """The arm with the best mean, upper bounds aside; blank where there is none to tell from others."""
    means = {
        arm.name: mean
        for arm in board.arms
        if arm.bound != "upper" and not math.isnan(mean := board.summary(arm.name, metric).mean)
    }
    if len(means) < 2:
        return ""
    return (min if lower_is_better(metric) else max)(means, key=lambda name: means[name])


def _named(arm: Arm) -> Markup:
    about = "" if arm.method == arm.name or arm.bound == "upper" else arm.method
    return join([arm.name, tag("small", about) if about else None])


def _head(column: Column) -> Markup:
    small = tag("small", column.below) if column.below else None
    return tag(
        "th",
        column.title,
        small,
        scope="col",
        data_first=column.first if column.first != "ascending" else None,
        class_="number" if column.number else None,
    )


def _cell(cell: Cell) -> Markup:
    key: Attribute = cell.key
    if isinstance(cell.key, float) and not math.isfinite(cell.key):
        key = "" if math.isnan(cell.key) else 1e300
    classes = " ".join(filter(None, ("" if isinstance(cell.key, str) else "number", cell.class_)))
    return tag("td", cell.content, data_key=key, class_=classes or None)
