"""All figures of a comparison: their names, captions and descriptions, or why one cannot be drawn."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from semiseg.comparison.report.figures import boxes, budget, critical_difference, curves, differences, pairs
from semiseg.comparison.report.figures.style import label_of
from semiseg.comparison.result.format import digits, listed, number, p_value, sampled, titled
from semiseg.errors import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from semiseg.comparison.result import ArmGroup, Comparison


@dataclass(frozen=True)
class Plate:
    """One figure of the report."""

    name: str
    """Of its files, unique in the report."""
    kind: str
    """Which figure: ``boxes``, ``differences`` …"""
    metric: str
    """The one that it shows, of those that the reader may choose from; blank for the others."""
    caption: str
    alternative: str
    """The same in words, for those who do not see it."""
    draw: Callable[[], Figure]
    lacking: str = ""
    """Why there is no figure; blank when there is."""


def plates_of_group(comparison: Comparison, group: ArmGroup) -> Iterator[Plate]:
    """The figures of one dataset and number of labels, in the order of the page."""
    place = _place(comparison, group)
    yield _differences(comparison, group, place)
    for metric in comparison.metrics:
        yield _boxes(comparison, group, place, metric)
    yield _critical_difference(comparison, group, place)
    yield _pairs(comparison, group, place)
    for quantity in (curves.DICE, curves.LOSS):
        yield _curves(comparison, group, place, quantity)


def plates_of_dataset(comparison: Comparison, dataset: str) -> Iterator[Plate]:
    """The figures over all numbers of labels of a dataset."""
    prefix = _of_dataset(comparison, dataset)
    why = budget.lacking(comparison, dataset)
    groups = comparison.budgets(dataset)
    for metric in comparison.metrics:
        lines = [
            f"{name}: "
            + ", ".join(f"{number(mean, digits(metric))} with {labels}" for labels, mean, _ in points)
            for name in budget.names_of(groups)
            if (points := budget.points_of(groups, name, metric))
        ]
        yield Plate(
            f"{prefix}budget_{slug(metric)}",
            "budget",
            metric,
            f"{metric} against the number of labeled cases; bars are the SD over seeds.",
            f"{titled(comparison, metric)} by number of labels. {'; '.join(lines)}.",
            lambda metric=metric: budget.draw(comparison, dataset, metric),  # type: ignore[misc]
            why,
        )


def slug(text: str) -> str:
    """A text as part of a file name or of an id."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "unnamed"


def slugs(texts: Sequence[str]) -> dict[str, str]:
    """The slug of each text, numbered where several have the same, in capitals or not."""
    made: dict[str, str] = {}
    for text in texts:
        taken = {name.lower() for name in made.values()}
        numbered = (f"{slug(text)}{f'-{n}' if n > 1 else ''}" for n in itertools.count(1))
        made[text] = next(name for name in numbered if name.lower() not in taken)
    return made


def _of_dataset(comparison: Comparison, dataset: str) -> str:
    """Beginning of the names of a dataset's files; blank where there is but one dataset."""
    return f"{slugs(comparison.datasets)[dataset]}_" if len(comparison.datasets) > 1 else ""


def _place(comparison: Comparison, group: ArmGroup) -> str:
    """Beginning of the names of a group's files; blank where there is but one group."""
    if len(comparison.groups) == 1:
        return ""
    return f"{_of_dataset(comparison, group.dataset)}{slug(group.budget)}_"


def _differences(comparison: Comparison, group: ArmGroup, place: str) -> Plate:
    metric, level = comparison.metric, round(100 * (1 - comparison.alpha))
    told = [
        f"{test.a} {number(test.difference, digits(metric), signed=True)}, p {p_value(test.p_holm)}"
        for test in group.against_baseline
    ]
    return Plate(
        f"{place}differences",
        "differences",
        "",
        f"Mean difference in {metric} to {group.baseline}, case by case, with its {level} % interval over "
        "cases and the p value of Wilcoxon's signed-rank test after Holm's correction.",
        f"Differences in {metric} to {group.baseline}: {'; '.join(told)}.",
        lambda: differences.draw(comparison, group),
        differences.lacking(group),
    )


def _boxes(comparison: Comparison, group: ArmGroup, place: str, metric: str) -> Plate:
    medians = []
    for arm in group.arms:
        values = arm.per_case(metric)
        known = values[~np.isnan(values)]
        medians.append(
            f"{label_of(group, arm)} {number(float(np.median(known)), digits(metric))}"
            if known.size
            else f"{label_of(group, arm)} not defined"
        )
    return Plate(
        f"{place}boxes_{slug(metric)}",
        "boxes",
        metric,
        f"{titled(comparison, metric)} of every case, the mean over classes and seeds: quartiles, whiskers "
        "to the farthest case within 1.5 times the box, the mean as a diamond.",
        f"{titled(comparison, metric)} per case. Medians: {', '.join(medians)}.",
        lambda: boxes.draw(comparison, group, metric),
    )


def _critical_difference(comparison: Comparison, group: ArmGroup, place: str) -> Plate:
    ranking = group.ranking
    ranks = ", ".join(
        f"{name} {rank:.2f}" for name, rank in ranking.mean_ranks.items() if not math.isnan(rank)
    )
    groups = "; ".join(listed(list(clique), most=30) for clique in ranking.cliques) or "none"
    p = p_value(ranking.p)
    return Plate(
        f"{place}critical-difference",
        "critical_difference",
        "",
        f"Mean ranks in {ranking.metric} over {plural(ranking.n, sampled(group))}, 1 is best. A bar joins "
        "methods whose ranks differ by less than Nemenyi's critical difference "
        f"(Friedman's test: p {p if p.startswith('<') else f'= {p}'}).",
        f"Mean ranks, best first: {ranks}. Groups without a significant difference: {groups}.",
        lambda: critical_difference.draw(comparison, group),
        critical_difference.lacking(group),
    )


def _pairs(comparison: Comparison, group: ArmGroup, place: str) -> Plate:
    return Plate(
        f"{place}pairs",
        "pairs",
        "",
        f"Every method against every other, case by case, in {comparison.metric}; p values are corrected for "
        f"{plural(len(group.pairs), 'pair')}.",
        "Matrix of the shares of won cases and of the corrected p values; the table below has its numbers.",
        lambda: pairs.draw(comparison, group),
        pairs.lacking(group),
    )


def _curves(comparison: Comparison, group: ArmGroup, place: str, quantity: str) -> Plate:
    dice = quantity == curves.DICE
    ends = []
    for arm in group.arms:
        last = [curve[1][-1] for run in arm.runs if (curve := curves.curve_of(run, quantity))[0].size]
        if last:
            ends.append(f"{label_of(group, arm)} {np.mean(last):.3g}")
    caption = (
        "Dice on the validation cases; the baseline is gray."
        if dice
        else ("Each method's own training loss: its course can be compared, its height cannot.")
    )
    return Plate(
        f"{place}curves_{'validation' if dice else 'loss'}",
        "curves_dice" if dice else "curves_loss",
        "",
        f"{caption} One thin line per run, the mean as a thick one.",
        f"{'Validation Dice' if dice else 'Training loss'} at the end: {', '.join(ends)}.",
        lambda: curves.draw(comparison, group, quantity),
        curves.lacking(group, quantity),
    )
