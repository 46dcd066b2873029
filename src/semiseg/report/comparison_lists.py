"""What belongs to the scores of a comparison: every pair, the cost, papers' figures, missing runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semiseg.report.comparison.words import DASH, digits, number, p_value, titled
from semiseg.report.comparison_cells import headline, interval_cell, level, name_cell, rules_of
from semiseg.report.table import Cell, Table, Value

if TYPE_CHECKING:
    from semiseg.comparison.result import Board, Comparison, PairTest


def pairs(comparison: Comparison, board: Board) -> Table:
    """Every test of two arms, those against the baseline first; each block is a family of its own."""
    interval = f"{level(comparison)} CI"
    columns = ("a", "b", "n", "a - b", interval, "p", "p (Holm)", "win/tie/loss", "effect")
    tests = [("baseline", test) for test in board.against_baseline]
    if len(board.pairs) > 1 or not tests:  # a single pair needs no second line
        tests += [("all pairs", test) for test in board.pairs]
    rows = tuple(_pair(board, family, test, comparison.alpha) for family, test in tests)
    rules = frozenset({len(board.against_baseline) - 1} - {-1, len(rows) - 1})
    notes = (
        f"{comparison.metric}, case by case, runs of an arm averaged first. Wilcoxon signed-rank, two-sided; "
        "Holm's correction within each block; bold below alpha. Effect: rank-biserial correlation, "
        "positive where a is better.",
    )
    return Table(f"Pairs: {headline(board)}", columns, rows, notes, rules, left=2)


def _pair(board: Board, family: str, test: PairTest, alpha: float) -> tuple[Cell, ...]:
    places = digits(test.metric)
    where: dict[str, Value] = {"dataset": board.dataset, "budget": board.budget, "family": family}
    counts: dict[str, Value] = {"wins": test.wins, "ties": test.ties, "losses": test.losses}
    counts["win_rate"] = test.win_rate
    effect: dict[str, Value] = {"effect": test.effect, "why_not": test.why_not}
    return (
        Cell(test.a, {**where, "metric": test.metric, "a": test.a}),
        Cell(test.b, {"b": test.b}),
        Cell(str(test.n), {"n": test.n, "excluded": test.excluded}),
        Cell(number(test.difference, places, signed=True), {"difference": test.difference}),
        interval_cell(test.interval, places, "difference", signed=True),
        Cell(p_value(test.p), {"p": test.p, "exact": str(test.exact).lower()}),
        Cell(p_value(test.p_holm), {"p_holm": test.p_holm}, best=test.p_holm < alpha),
        Cell(f"{test.wins}/{test.ties}/{test.losses}", counts),
        Cell(number(test.effect, 2, signed=True), effect),
    )


def costs(board: Board) -> Table | None:
    """What a run of each arm took; None when nothing was recorded."""
    kinds = (
        ("step (s)", "step_seconds", 3, 1.0),
        ("minutes", "minutes", 1, 1.0),
        ("peak memory (GB)", "memory_gb", 2, 1.0),
        ("parameters (M)", "parameters", 2, 1e-6),
    )
    found = {arm.name: arm.cost for arm in board.arms}
    shown = [k for k in kinds if not all(math.isnan(getattr(cost, k[1])) for cost in found.values())]
    if not shown:
        return None
    rows = []
    for arm in board.arms:
        cells = [name_cell(board, arm)]
        for _, field, places, scale in shown:
            value = getattr(found[arm.name], field)
            cells.append(Cell(number(scale * value, places), {field: value}))
        rows.append(tuple(cells))
    hardware = {
        str((run.manifest.get("hardware") or {}).get("cpu")) for arm in board.arms for run in arm.runs
    }
    notes = ["Medians over runs, as they were logged."]
    notes += ["The runs were made on different machines."] if len(hardware) > 1 else []
    columns = ("method", *(name for name, *_ in shown))
    return Table("Cost", columns, tuple(rows), tuple(notes), rules_of(board))


def papers(comparison: Comparison, board: Board) -> Table | None:
    """Every published figure of the same method, dataset and number of labels; None when there is none."""
    if not board.published:
        return None
    rows = []
    for p in board.published:
        places = digits(p.metric)
        values: dict[str, Value] = {"metric": p.metric, "published": p.value}
        rows.append(
            (
                Cell(p.arm, {"dataset": board.dataset, "budget": board.budget, "method": p.arm}),
                Cell(titled(comparison, p.metric) if not math.isnan(p.gap) else p.metric),
                Cell(p.setting),
                Cell(p.source, {"setting": p.setting, "source": p.source}),
                Cell("yes" if p.comparable else f"no: {p.why}", {"comparable": str(p.comparable).lower()}),
                Cell(number(p.value, places), values),
                Cell(number(p.gap, places, signed=True), {"gap": p.gap, "why": p.why}),
            )
        )
    columns = ("method", "metric", "setting", "source", "comparable", "published", "gap")
    notes = ("Gap: ours minus theirs, in the same unit.",)
    return Table("Published", columns, tuple(rows), notes, left=5)


def missing(board: Board) -> Table | None:
    """Runs that should be there; None when all are."""
    if not board.missing:
        return None
    rows = tuple(
        (
            Cell(cell.name),
            Cell(str(cell.fold)),
            Cell(str(cell.seed)),
            Cell(cell.reason),
            Cell(cell.command or DASH),
        )
        for cell in board.missing
    )
    columns = ("method", "fold", "seed", "why", "command")
    return Table("Missing", columns, rows, left=5)


def _machine(manifest: Mapping[str, Any]) -> str:
    """What a step's time depends on most."""
    hardware = manifest.get("hardware") or {}
    return json.dumps([hardware.get(key) for key in ("cpu", "threads", "gpus")])
