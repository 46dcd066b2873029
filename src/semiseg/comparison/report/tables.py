"""The tables of a comparison: scores, tests, classes, costs, papers' figures, missing runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from semiseg.comparison.result.format import (
    DASH,
    VERDICTS,
    digits,
    lower_is_better,
    number,
    p_value,
    sampled,
    span,
    titled,
    verdict,
)
from semiseg.drawing.table import DAGGER, Column, Table, TableCell, Value, heads, table_of
from semiseg.errors import plural

if TYPE_CHECKING:
    from semiseg.comparison.result import Arm, ArmGroup, Comparison, Interval, PairTest, Published

    ArmColumn = tuple[Column | str, Callable[[Arm], TableCell]]


def shown(comparison: Comparison, group: ArmGroup, *, per_class: bool = False) -> Sequence[Table]:
    """The tables of a group that a reader sees first."""
    by_class = [classes(comparison, group)] if per_class and len(group.classes) > 1 else []
    found = [scores(comparison, group), *by_class, costs(group), missing(group)]
    return [table for table in found if table is not None]


def tables_of(comparison: Comparison) -> list[Table]:
    """What a notebook shows: scores, costs and what is missing, group by group."""
    return [table for group in comparison.groups for table in shown(comparison, group)]


def records_of(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each arm of each group, from its table of scores."""
    found = []
    for group in comparison.groups:
        where = {"dataset": group.dataset, "labeled": group.labeled}
        found += [{**where, **row} for row in scores(comparison, group).records()]
    return found


def scores(comparison: Comparison, group: ArmGroup) -> Table:
    """A row per arm: the metrics, the test against the baseline, the rank, the paper's figure."""
    metric, others = comparison.metric, comparison.metrics[1:]
    places, ci = digits(metric), f"{level(comparison)} CI"
    figures = published(group, metric)
    marks = {t.a: DAGGER for t in group.against_baseline if t.p_holm < comparison.alpha}
    columns: list[ArmColumn] = [
        ("method", partial(name_cell, group)),
        ("runs", lambda arm: TableCell(str(len(arm.runs)), {"runs": len(arm.runs)})),
        (titled(comparison, metric), _mean(group, metric, marks)),
        (ci, _interval(group, metric)),
    ]
    if group.against_baseline:
        columns += [
            (f"Δ {group.baseline}", _of_test(group, _difference)),
            (ci, _of_test(group, lambda test: interval_cell(test.interval, places, "difference"))),
            ("p (Holm)", _of_test(group, _p)),
            ("wins", _of_test(group, _win_rate)),
        ]
    columns += [("rank", partial(_rank, group))] if len(group.ranking.mean_ranks) > 1 else []
    columns += [(titled(comparison, other), _mean(group, other)) for other in others]
    if figures:
        columns += [
            ("published", lambda arm: _published(figures.get(arm.name, []))),
            ("gap", lambda arm: _gap(figures.get(arm.name, []))),
        ]
    notes = _notes(comparison, group, bool(group.against_baseline), bool(figures))
    return table_of(headline(group), group.arms, columns, notes, rules_of(group))


def of_metric(comparison: Comparison, group: ArmGroup, metric: str) -> Table:
    """One metric of a group as the page has it: sortable, what belongs together in one cell."""
    down = not lower_is_better(metric)
    figures = published(group, metric)
    columns: list[ArmColumn] = [
        (Column("method", number=False, key="method"), partial(_arm, group)),
        (
            Column(titled(comparison, metric), True, f"{metric}_mean", down, "mean ± SD, interval"),
            _mean(group, metric),
        ),
    ]
    if metric == comparison.metric:
        columns += [
            (Column("difference", True, "difference", down, "to baseline"), _of_test(group, _difference)),
            (Column("p", True, "p_holm", below="Holm"), _of_test(group, _p)),
            (Column("verdict", number=False, key="verdict"), partial(_verdict, group, comparison.alpha)),
            (Column("wins", True, "win_rate", True, f"{sampled(group)}s"), _of_test(group, _wins)),
            (Column("rank", True, "mean_rank", below="mean"), partial(_rank, group)),
        ]
    if figures:
        head = Column("published", True, "published", down, "ours minus it")
        columns.append((head, lambda arm: _published(figures.get(arm.name, []))))
    columns.append((Column("seeds", True, "seeds", True), _seeds))
    title = (
        f"{group.dataset}, {group.budget}: mean {metric} ± SD over seeds (where there are several), "
        f"{level(comparison)} interval over cases"
    )
    tested = f"Rank: mean over {sampled(group)}s, 1 is best."
    note = tested if metric == comparison.metric else f"Only {comparison.metric} was tested."
    return table_of(title, group.arms, [*columns, *_costs(group)], [note])


def classes(comparison: Comparison, group: ArmGroup) -> Table:
    """The metrics of every class, a block of arms for each."""
    rows = []
    for label in group.classes:
        first, *others = (_mean(group, metric, label=label) for metric in comparison.metrics)
        makers = [first, _interval(group, comparison.metric, label), *others]
        for i, arm in enumerate(group.arms):
            named = TableCell(label if i == 0 else "", {"class": label}), name_cell(group, arm)
            rows.append((*named, *(make(arm) for make in makers)))
    tested, *rest = (titled(comparison, metric) for metric in comparison.metrics)
    columns = heads(("class", "method", tested, f"{level(comparison)} CI", *rest), left=2)
    notes = ("Mean ± SD over the runs of a method; CI: bootstrap over cases.",)
    rules = range(len(group.arms) - 1, len(rows), len(group.arms))
    return Table(f"By class: {headline(group)}", columns, tuple(rows), notes, frozenset(rules))


def _notes(comparison: Comparison, group: ArmGroup, tested: bool, figures: bool) -> tuple[str, ...]:
    rank = group.ranking
    notes = [
        f"Mean ± SD over the runs of a method; CI: bootstrap over cases. Convention {comparison.convention}."
    ]
    if any(s.undefined for s in group.summaries if s.label is None):
        notes.append("(n): only n cases have a defined value.")
    if tested:
        notes.append(
            f"{DAGGER} differs from {group.baseline}: Wilcoxon signed-rank on {comparison.metric}, Holm's "
            f"correction, p < {comparison.alpha:g}. Wins: cases in which it is better, ties half."
        )
    if len(rank.mean_ranks) > 1 and rank.n:
        notes.append(f"Rank: mean over {plural(rank.n, 'case')}; {_ranks_differ(comparison, group)}.")
    if figures:
        notes.append("‡ not comparable with this run.")
    return tuple(notes)


def _ranks_differ(comparison: Comparison, group: ArmGroup) -> str:
    """What the ranks say, in the order of the tests: whether any differ, then from which difference on."""
    rank = group.ranking
    width = f"those more than {rank.critical_difference:.2f} apart differ (Nemenyi)"
    if math.isnan(rank.p):
        return width if not rank.why_not or len(rank.mean_ranks) == 2 else f"not tested: {rank.why_not}"
    if rank.p >= comparison.alpha:
        return f"no ranks are shown to differ (Friedman p {p_value(rank.p)})"
    return f"{width}, after Friedman p {p_value(rank.p)}"


def pairs(comparison: Comparison, group: ArmGroup) -> Table:
    """Every test of two arms, those against the baseline first; each block is a family of its own."""
    titles = ("a", "b", "n", "a - b", f"{level(comparison)} CI", "p", "p (Holm)", "win/tie/loss", "effect")
    tests = [("baseline", test) for test in group.against_baseline]
    if len(group.pairs) > 1 or not tests:  # a single pair needs no second line
        tests += [("all pairs", test) for test in group.pairs]
    rows = tuple(_pair(group, family, test, comparison.alpha) for family, test in tests)
    rules = frozenset({len(group.against_baseline) - 1} - {-1, len(rows) - 1})
    notes = (
        f"{comparison.metric}, case by case, runs of an arm averaged first. Wilcoxon signed-rank, two-sided; "
        "Holm's correction within each block; bold below alpha. Effect: rank-biserial correlation, "
        "positive where a is better.",
    )
    return Table(f"Pairs: {headline(group)}", heads(titles, left=2), rows, notes, rules)


def _pair(group: ArmGroup, family: str, test: PairTest, alpha: float) -> tuple[TableCell, ...]:
    where: dict[str, Value] = {"dataset": group.dataset, "budget": group.budget, "family": family}
    counts: dict[str, Value] = {"wins": test.wins, "ties": test.ties, "losses": test.losses}
    return (
        TableCell(test.a, {**where, "metric": test.metric, "a": test.a}),
        TableCell(test.b, {"b": test.b}),
        TableCell(str(test.n), {"n": test.n, "excluded": test.excluded}),
        _difference(test),
        interval_cell(test.interval, digits(test.metric), "difference"),
        TableCell(p_value(test.p), {"p": test.p, "exact": str(test.exact).lower()}),
        TableCell(p_value(test.p_holm), {"p_holm": test.p_holm}, best=test.p_holm < alpha),
        TableCell(f"{test.wins}/{test.ties}/{test.losses}", {**counts, "win_rate": test.win_rate}),
        TableCell(number(test.effect, 2, signed=True), {"effect": test.effect, "why_not": test.why_not}),
    )


def costs(group: ArmGroup) -> Table | None:
    """What a run of each arm took; None when nothing was recorded."""
    columns = _costs(group)
    if not columns:
        return None
    hardware = {
        str((run.manifest.get("hardware") or {}).get("cpu")) for arm in group.arms for run in arm.runs
    }
    notes = ["Medians over runs, as they were logged."]
    notes += ["The runs were made on different machines."] if len(hardware) > 1 else []
    return table_of(
        "Cost", group.arms, [("method", partial(name_cell, group)), *columns], notes, rules_of(group)
    )


COSTS = (
    ("step (s)", "step_seconds", 3, 1.0),
    ("minutes", "minutes", 1, 1.0),
    ("peak memory (GB)", "memory_gb", 2, 1.0),
    ("parameters (M)", "parameters", 2, 1e-6),
)
"""Head of a column, field of a cost, decimals, factor."""


def _costs(group: ArmGroup) -> list[ArmColumn]:
    """A column for each cost that any arm recorded."""
    found = {arm.name: arm.cost for arm in group.arms}

    def cell(name: str, places: int, scale: float, arm: Arm) -> TableCell:
        value = getattr(found[arm.name], name)
        return TableCell(number(scale * value, places), {name: value})

    return [
        (Column(title, key=name), partial(cell, name, places, scale))
        for title, name, places, scale in COSTS
        if not all(math.isnan(getattr(cost, name)) for cost in found.values())
    ]


def papers(comparison: Comparison, group: ArmGroup) -> Table | None:
    """Every published figure of the same method, dataset and number of labels; None when there is none."""
    if not group.published:
        return None
    rows = []
    for p in group.published:
        places = digits(p.metric)
        rows.append(
            (
                TableCell(p.arm, {"dataset": group.dataset, "budget": group.budget, "method": p.arm}),
                TableCell(titled(comparison, p.metric) if not math.isnan(p.gap) else p.metric),
                TableCell(p.setting),
                TableCell(p.source, {"setting": p.setting, "source": p.source}),
                TableCell(
                    "yes" if p.comparable else f"no: {p.why}", {"comparable": str(p.comparable).lower()}
                ),
                TableCell(number(p.value, places), {"metric": p.metric, "published": p.value}),
                TableCell(number(p.gap, places, signed=True), {"gap": p.gap, "why": p.why}),
            )
        )
    columns = heads(("method", "metric", "setting", "source", "comparable", "published", "gap"), left=5)
    return Table("Published", columns, tuple(rows), ("Gap: ours minus theirs, in the same unit.",))


def missing(group: ArmGroup) -> Table | None:
    """Runs that should be there; None when all are."""
    if not group.missing:
        return None
    texts = ((c.name, str(c.fold), str(c.seed), c.reason, c.command or DASH) for c in group.missing)
    columns = heads(("method", "fold", "seed", "why", "command"), left=5)
    return Table("Missing", columns, tuple(tuple(map(TableCell, row)) for row in texts))


def headline(group: ArmGroup) -> str:
    """What a table is about: dataset, labels, cases."""
    return f"{group.dataset}, {group.budget}, {plural(len(group.cases), f'{group.source} case')}"


def level(comparison: Comparison) -> str:
    """``95 %``: the level of the intervals."""
    return f"{100 * (1 - comparison.alpha):g} %"


def name_cell(group: ArmGroup, arm: Arm) -> TableCell:
    """The name of an arm, and what identifies its row in a CSV."""
    note = " (baseline)" if arm.name == group.baseline else ""
    values: dict[str, Value] = {"dataset": group.dataset, "budget": group.budget, "method": arm.name}
    return TableCell(f"{arm.name}{note}", {**values, "labeled": arm.labeled, "bound": arm.bound})


def _arm(group: ArmGroup, arm: Arm) -> TableCell:
    """Its name, and its method where the name does not say it."""
    about = () if arm.method == arm.name or arm.bound == "upper" else (arm.method,)
    state = "baseline" if arm.name == group.baseline else ""
    return TableCell(arm.name, {"method": arm.name}, small=about, state=state)


def _mean(
    group: ArmGroup, metric: str, marks: Mapping[str, str] | None = None, label: str | None = None
) -> Callable[[Arm], TableCell]:
    """Mean ± SD and how many cases count where not all do; the interval as small print."""
    places, best = digits(metric), best_of(group, metric, label)

    def cell(arm: Arm) -> TableCell:
        found = group.summary(arm.name, metric, label)
        interval = found.interval
        spread = "" if math.isnan(found.sd) else f" ± {number(found.sd, places)}"
        left_out = f" ({found.cases})" if found.undefined else ""
        values: dict[str, Value] = {
            f"{metric}_mean": found.mean,
            f"{metric}_sd": found.sd,
            f"{metric}_low": interval.low,
            f"{metric}_high": interval.high,
            f"{metric}_cases": found.cases,
            f"{metric}_undefined": found.undefined,
        }
        small = [interval.why_not if math.isnan(interval.low) else span(interval, places)]
        small += [f"{plural(found.undefined, 'value')} undefined"] if found.undefined else []
        text = f"{number(found.mean, places)}{spread}{left_out}"
        return TableCell(text, values, arm.name == best, (marks or {}).get(arm.name, ""), tuple(small))

    return cell


def _interval(group: ArmGroup, metric: str, label: str | None = None) -> Callable[[Arm], TableCell]:
    return lambda arm: interval_cell(group.summary(arm.name, metric, label).interval, digits(metric))


def interval_cell(found: Interval, places: int, name: str = "") -> TableCell:
    """``[low, high]``, of a difference with signs; a dash where there is none."""
    values: dict[str, Value] = {f"{name}_low": found.low, f"{name}_high": found.high} if name else {}
    if found.why_not:
        return TableCell(DASH, values)
    low, high = (number(end, places, signed=bool(name)) for end in (found.low, found.high))
    return TableCell(f"[{low}, {high}]", values)


def _of_test(group: ArmGroup, make: Callable[[PairTest], TableCell]) -> Callable[[Arm], TableCell]:
    """A cell about an arm's test against the baseline; blank where there is none."""
    return lambda arm: TableCell("") if (test := group.test(arm.name)) is None else make(test)


def _difference(test: PairTest) -> TableCell:
    places = digits(test.metric)
    between = () if math.isnan(test.interval.low) else (span(test.interval, places, signed=True),)
    text = number(test.difference, places, signed=True)
    return TableCell(text, {"difference": test.difference}, small=between)


def _p(test: PairTest) -> TableCell:
    why = (test.why_not,) if test.why_not else ()
    return TableCell(p_value(test.p_holm), {"p": test.p, "p_holm": test.p_holm}, small=why)


def _win_rate(test: PairTest) -> TableCell:
    values: dict[str, Value] = {"win_rate": test.win_rate, "effect": test.effect, "tested_cases": test.n}
    return TableCell(f"{100 * test.win_rate:.0f} %" if test.n else DASH, values)


def _wins(test: PairTest) -> TableCell:
    ties = (plural(test.ties, "tie"),) if test.ties else ()
    return TableCell(f"{test.wins} of {test.n}", {"win_rate": test.win_rate}, small=ties)


def _verdict(group: ArmGroup, alpha: float, arm: Arm) -> TableCell:
    found = verdict(group, arm, alpha)
    return TableCell(VERDICTS[found], {"verdict": found}, state=f"verdict {found}")


def _rank(group: ArmGroup, arm: Arm) -> TableCell:
    rank = group.ranking.mean_ranks.get(arm.name, math.nan)
    return TableCell("" if arm.bound == "upper" else number(rank, 2), {"mean_rank": rank})


def _seeds(arm: Arm) -> TableCell:
    folds = (plural(len(arm.runs), "run"),) if len(arm.runs) != len(arm.seeds) else ()
    return TableCell(str(len(arm.seeds)), {"seeds": len(arm.seeds)}, small=folds)


def published(group: ArmGroup, metric: str) -> dict[str, list[Published]]:
    """Arm -> its published figures in a metric, the comparable ones first."""
    found: dict[str, list[Published]] = {}
    for figure in sorted(group.published, key=lambda p: not p.comparable):
        if figure.metric == metric:
            found.setdefault(figure.arm, []).append(figure)
    return found


def _published(figures: Sequence[Published]) -> TableCell:
    """The first; how many more there are as small print."""
    if not figures:
        return TableCell(DASH)
    first, places = figures[0], digits(figures[0].metric)
    more = f", {len(figures) - 1} more" if len(figures) > 1 else ""
    state = "" if first.comparable else ", not comparable"
    values: dict[str, Value] = {"published": first.value, "comparable": str(first.comparable).lower()}
    small = f"gap {number(first.gap, places, signed=True)}{state}{more}"
    return TableCell(number(first.value, places), values, mark="‡" if state else "", small=(small,))


def _gap(figures: Sequence[Published]) -> TableCell:
    if not figures:
        return TableCell(DASH)
    text = number(figures[0].gap, digits(figures[0].metric), signed=True)
    return TableCell(text, {"gap": figures[0].gap}, mark="" if figures[0].comparable else "‡")


def best_of(group: ArmGroup, metric: str, label: str | None = None) -> str:
    """The arm with the best mean, bounds above aside; blank when there is no contest."""
    own = [group.summary(arm.name, metric, label) for arm in group.arms if arm.bound != "upper"]
    known = [summary for summary in own if not math.isnan(summary.mean)]
    if len(known) < 2:
        return ""
    return (min if lower_is_better(metric) else max)(known, key=lambda summary: summary.mean).arm


def rules_of(group: ArmGroup) -> frozenset[int]:
    """Lines that part the baseline and the upper bounds from the rest."""
    own = [i for i, arm in enumerate(group.arms) if arm.bound != "upper"]
    rules = {own[-1]} if len(own) < len(group.arms) else set()
    return frozenset(rules | ({0} if group.baseline and len(own) > 1 else set()))
