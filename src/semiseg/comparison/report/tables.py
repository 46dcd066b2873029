"""The tables that a comparison is read from: the scores of a board, and those of each class.

What belongs to the scores of a comparison: every pair, the cost, papers' figures, missing runs.

What stands in the tables of a comparison, cell by cell.

The table of a board: one panel per metric, one row per arm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semiseg.comparison.report.html import Attribute, Child, Markup, join, tag
from semiseg.comparison.report.words import (
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
from semiseg.drawing.table import DAGGER, Cell, Table, Value

if TYPE_CHECKING:
    from semiseg.comparison.result import Arm, Board, Comparison, PairTest, Published, Summary
    from semiseg.comparison.statistics import Interval


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


VERDICTS: dict[Verdict, str] = {
    "better": "▲ better",
    "worse": "▼ worse",
    "open": "no difference shown",
    "baseline": "baseline",
    "bound": "upper bound",
    "untested": "not tested",
}


@dataclass(frozen=True)
class PageCell:
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


def _cells(comparison: Comparison, board: Board, arm: Arm, metric: str, best: str) -> Iterator[PageCell]:
    summary, places = board.summary(arm.name, metric), digits(metric)
    spread = f" ± {number(summary.sd, places)}"
    text = number(summary.mean, places) + ("" if math.isnan(summary.mean) else spread)
    below = [tag("small", _interval(summary, places)), _undefined(summary)]
    yield PageCell([text, *below], summary.mean, "best" if arm.name == best else "")
    if metric == comparison.metric:
        yield from _tested(comparison, board, arm, places)
    if _published(board, metric):
        yield _published_cell([entry for entry in _published(board, metric) if entry.arm == arm.name], places)
    folds = tag("small", count(len(arm.runs), "run")) if len(arm.runs) != len(arm.seeds) else None
    yield PageCell([str(len(arm.seeds)), folds], len(arm.seeds))
    for _, _, attribute, decimals, scale in _costs(board):
        value = scale * getattr(arm.cost, attribute)
        yield PageCell(number(value, decimals), value)


def _interval(summary: Summary, places: int) -> str:
    interval = summary.interval
    if math.isnan(interval.low):
        return interval.why_not
    return f"{number(interval.low, places)} to {number(interval.high, places)}"


def _undefined(summary: Summary) -> Markup | None:
    return tag("small", f"{count(summary.undefined, 'value')} undefined") if summary.undefined else None


def _tested(comparison: Comparison, board: Board, arm: Arm, places: int) -> Iterator[PageCell]:
    found = verdict(board, arm, comparison.alpha)
    class_ = f"verdict {found}"
    test = board.test(arm.name) if arm.bound != "upper" else None
    if test is None:
        yield from (PageCell(DASH, math.nan), PageCell(DASH, math.nan))
        yield PageCell(VERDICTS[found], found, class_)
        yield PageCell(DASH, math.nan)
    else:
        low, high = (number(v, places, signed=True) for v in (test.interval.low, test.interval.high))
        between = None if math.isnan(test.interval.low) else tag("small", f"{low} to {high}")
        yield PageCell([number(test.difference, places, signed=True), between], test.difference)
        yield PageCell(
            [p_value(test.p_holm), tag("small", test.why_not) if test.why_not else None], test.p_holm
        )
        yield PageCell(VERDICTS[found], found, class_)
        ties = tag("small", count(test.ties, "tie")) if test.ties else None
        yield PageCell([f"{test.wins} of {test.n}", ties], test.win_rate)
    rank = board.ranking.mean_ranks.get(arm.name, math.nan) if arm.bound != "upper" else math.nan
    yield PageCell(number(rank, 2), rank)


def _published(board: Board, metric: str) -> list[Published]:
    return [entry for entry in board.published if entry.metric == metric]


def _published_cell(entries: list[Published], places: int) -> PageCell:
    """The first comparable figure, else the first; the rest are in the list below the table."""
    if not entries:
        return PageCell(DASH, math.nan)
    shown = next((entry for entry in entries if entry.comparable), entries[0])
    gap = number(shown.gap, places, signed=True)
    more = f", {len(entries) - 1} more" if len(entries) > 1 else ""
    state = f"gap {gap}{more}" if shown.comparable else f"gap {gap}, not comparable{more}"
    return PageCell([number(shown.value, places), tag("small", state)], shown.value)


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


def _cell(cell: PageCell) -> Markup:
    key: Attribute = cell.key
    if isinstance(cell.key, float) and not math.isfinite(cell.key):
        key = "" if math.isnan(cell.key) else 1e300
    classes = " ".join(filter(None, ("" if isinstance(cell.key, str) else "number", cell.class_)))
    return tag("td", cell.content, data_key=key, class_=classes or None)
