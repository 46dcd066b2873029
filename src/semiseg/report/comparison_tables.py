"""The tables that a comparison is read from: the scores of a board, and those of each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from semiseg.report.comparison.words import DASH, count, digits, number, p_value, titled
from semiseg.report.comparison_cells import (
    best_of,
    headline,
    interval_cell,
    level,
    mark_of,
    metric_cells,
    name_cell,
    rules_of,
)
from semiseg.report.comparison_lists import costs, missing
from semiseg.report.table import DAGGER, Cell, Table, Value

if TYPE_CHECKING:
    from semiseg.comparison.result import Arm, Board, Comparison, Published


def shown(comparison: Comparison, board: Board, *, per_class: bool = False) -> Sequence[Table]:
    """The tables of a board that a reader sees first."""
    by_class = [classes(comparison, board)] if per_class and len(board.classes) > 1 else []
    found = [scores(comparison, board), *by_class, costs(board), missing(board)]
    return [table for table in found if table is not None]


def scores(comparison: Comparison, board: Board) -> Table:
    """A row per arm: the metrics, the test against the baseline, the rank, the paper's figure."""
    metric = comparison.metric
    tested = bool(board.against_baseline)
    papers = {p.arm: p for p in reversed(_chosen(board, metric))}
    columns = ["method", "runs", titled(comparison, metric), f"{level(comparison)} CI"]
    columns += [f"Δ {board.baseline}", f"{level(comparison)} CI", "p (Holm)", "wins"] if tested else []
    columns += ["rank"] if len(board.ranking.mean_ranks) > 1 else []
    columns += [titled(comparison, other) for other in comparison.metrics[1:]]
    columns += ["published", "gap"] if papers else []
    best = {m: best_of(board, m) for m in comparison.metrics}
    rows = []
    for arm in board.arms:
        cells = [name_cell(board, arm), Cell(str(len(arm.runs)), {"runs": len(arm.runs)})]
        cells += metric_cells(
            board.summary(arm.name, metric), metric, best[metric], mark_of(comparison, board, arm)
        )
        cells += _test(board, arm) if tested else []
        cells += [_rank(board, arm)] if len(board.ranking.mean_ranks) > 1 else []
        for other in comparison.metrics[1:]:
            cells.append(metric_cells(board.summary(arm.name, other), other, best[other])[0])
        cells += _paper(papers.get(arm.name), metric) if papers else []
        rows.append(tuple(cells))
    notes = _notes(comparison, board, tested, bool(papers))
    return Table(headline(board), tuple(columns), tuple(rows), notes, rules_of(board))


def classes(comparison: Comparison, board: Board) -> Table:
    """The metrics of every class, a block of arms for each."""
    others = [titled(comparison, other) for other in comparison.metrics[1:]]
    first = titled(comparison, comparison.metric)
    columns = ("class", "method", first, f"{level(comparison)} CI", *others)
    rows, rules = [], set()
    for label in board.classes:
        best = {m: best_of(board, m, label) for m in comparison.metrics}
        for i, arm in enumerate(board.arms):
            found = [(m, board.summary(arm.name, m, label)) for m in comparison.metrics]
            cells = [Cell(label if i == 0 else "", {"class": label}), name_cell(board, arm)]
            cells += metric_cells(found[0][1], found[0][0], best[found[0][0]])
            cells += [metric_cells(summary, m, best[m])[0] for m, summary in found[1:]]
            rows.append(tuple(cells))
        rules.add(len(rows) - 1)
    notes = ("Mean ± SD over the runs of a method; CI: bootstrap over cases.",)
    title = f"By class: {headline(board)}"
    return Table(title, columns, tuple(rows), notes, frozenset(rules), left=2)


def _test(board: Board, arm: Arm) -> list[Cell]:
    """Difference from the baseline, its interval, the corrected p value and the win rate."""
    test = board.test(arm.name)
    if test is None:
        return [Cell("")] * 4
    places = digits(test.metric)
    return [
        Cell(number(test.difference, places, signed=True), {"difference": test.difference}),
        interval_cell(test.interval, places, "difference", signed=True),
        Cell(p_value(test.p_holm), {"p": test.p, "p_holm": test.p_holm}),
        Cell(
            f"{100 * test.win_rate:.0f} %" if test.n else DASH,
            {"win_rate": test.win_rate, "effect": test.effect, "tested_cases": test.n},
        ),
    ]


def _rank(board: Board, arm: Arm) -> Cell:
    rank = board.ranking.mean_ranks.get(arm.name, math.nan)
    return Cell("" if arm.bound == "upper" else number(rank, 2), {"mean_rank": rank})


def _chosen(board: Board, metric: str) -> list[Published]:
    """Of each arm the figure to stand in the table: a comparable one, else the first."""
    own = [p for p in board.published if p.metric == metric]
    return sorted(own, key=lambda p: not p.comparable)


def _paper(found: Published | None, metric: str) -> list[Cell]:
    if found is None:
        return [Cell(DASH), Cell(DASH)]
    places, mark = digits(metric), "" if found.comparable else "‡"
    values: dict[str, Value] = {"published": found.value, "comparable": str(found.comparable).lower()}
    return [
        Cell(number(found.value, places), values, mark=mark),
        Cell(number(found.gap, places, signed=True), {"gap": found.gap}, mark=mark),
    ]


def _notes(comparison: Comparison, board: Board, tested: bool, figures: bool) -> tuple[str, ...]:
    rank = board.ranking
    notes = [
        f"Mean ± SD over the runs of a method; CI: bootstrap over cases. Convention {comparison.convention}."
    ]
    if any(s.undefined for s in board.summaries if s.label is None):
        notes.append("(n): only n cases have a defined value.")
    if tested:
        notes.append(
            f"{DAGGER} differs from {board.baseline}: Wilcoxon signed-rank on {comparison.metric}, Holm's "
            f"correction, p < {comparison.alpha:g}. Wins: cases in which it is better, ties half."
        )
    if len(rank.mean_ranks) > 1 and rank.n:
        notes.append(f"Rank: mean over {count(rank.n, 'case')}; {_ranks_differ(comparison, board)}.")
    if figures:
        notes.append("‡ not comparable with this run.")
    return tuple(notes)


def _ranks_differ(comparison: Comparison, board: Board) -> str:
    """What the ranks say, in the order of the tests: whether any differ, then from which difference on."""
    rank = board.ranking
    width = f"those more than {rank.critical_difference:.2f} apart differ (Nemenyi)"
    if math.isnan(rank.p):
        return width if not rank.why_not or len(rank.mean_ranks) == 2 else f"not tested: {rank.why_not}"
    if rank.p >= comparison.alpha:
        return f"no ranks are shown to differ (Friedman p {p_value(rank.p)})"
    return f"{width}, after Friedman p {p_value(rank.p)}"
