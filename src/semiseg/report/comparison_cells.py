"""What stands in the tables of a comparison, cell by cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from semiseg.report.comparison.words import DASH, count, digits, lower_is_better, number
from semiseg.report.table import DAGGER, Cell, Value

if TYPE_CHECKING:
    from semiseg.comparison.result import Arm, Board, Comparison, Interval, Summary


def headline(board: Board) -> str:
    """What a table is about: dataset, labels, cases."""
    return f"{board.dataset}, {board.budget}, {count(len(board.cases), f'{board.source} case')}"


def level(comparison: Comparison) -> str:
    """``95 %``: the level of the intervals."""
    return f"{100 * (1 - comparison.alpha):g} %"


def name_cell(board: Board, arm: Arm) -> Cell:
    """The name of an arm, and what identifies its row in a CSV."""
    note = " (baseline)" if arm.name == board.baseline else ""
    values: dict[str, Value] = {"dataset": board.dataset, "budget": board.budget, "method": arm.name}
    return Cell(f"{arm.name}{note}", {**values, "labeled": arm.labeled, "bound": arm.bound})


def metric_cells(summary: Summary, metric: str, best: str, mark: str = "") -> list[Cell]:
    """Mean ± SD, and the interval."""
    places = digits(metric)
    spread = "" if math.isnan(summary.sd) else f" ± {number(summary.sd, places)}"
    left_out = f" ({summary.cases})" if summary.undefined else ""
    values: dict[str, Value] = {f"{metric}_mean": summary.mean, f"{metric}_sd": summary.sd}
    counts: dict[str, Value] = {f"{metric}_cases": summary.cases, f"{metric}_undefined": summary.undefined}
    found = summary.interval
    ends: dict[str, Value] = {f"{metric}_low": found.low, f"{metric}_high": found.high}
    mean = Cell(
        f"{number(summary.mean, places)}{spread}{left_out}",
        {**values, **ends, **counts},
        best=summary.arm == best,
        mark=mark,
    )
    return [mean, Cell(interval_cell(found, places, metric).text)]


def interval_cell(found: Interval, places: int, name: str, *, signed: bool = False) -> Cell:
    """``[low, high]``; a dash where there is none."""
    values: dict[str, Value] = {f"{name}_low": found.low, f"{name}_high": found.high}
    if found.why_not:
        return Cell(DASH, values)
    low, high = (number(end, places, signed=signed) for end in (found.low, found.high))
    return Cell(f"[{low}, {high}]", values)


def mark_of(comparison: Comparison, board: Board, arm: Arm) -> str:
    """A dagger where the arm differs from the baseline."""
    test = board.test(arm.name)
    return DAGGER if test and test.p_holm < comparison.alpha else ""


def best_of(board: Board, metric: str, label: str | None = None) -> str:
    """The arm with the best mean, bounds above aside; blank when there is no contest."""
    own = [board.summary(arm.name, metric, label) for arm in board.arms if arm.bound != "upper"]
    known = [summary for summary in own if not math.isnan(summary.mean)]
    if len(known) < 2:
        return ""
    return (min if lower_is_better(metric) else max)(known, key=lambda summary: summary.mean).arm


def rules_of(board: Board) -> frozenset[int]:
    """Lines that part the baseline and the upper bounds from the rest."""
    own = [i for i, arm in enumerate(board.arms) if arm.bound != "upper"]
    rules = {own[-1]} if len(own) < len(board.arms) else set()
    return frozenset(rules | ({0} if board.baseline and len(own) > 1 else set()))
