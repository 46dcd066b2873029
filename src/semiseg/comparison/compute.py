"""The numbers of a group: summaries, paired tests and ranks, from arms whose cases are the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from semiseg.comparison.result import Arm, Floats, PairTest, Ranking, Summary, mean_of_defined
from semiseg.comparison.statistics import (
    RESAMPLES,
    Interval,
    bootstrap,
    cliques,
    critical_difference,
    friedman,
    holm,
    pair,
    signed_rank,
)
from semiseg.evaluation.case import DISTANCES
from semiseg.evaluation.results import statistics


@dataclass(frozen=True)
class Rule:
    """How to compute, the same for every group."""

    metric: str = "Dice"
    alpha: float = 0.05
    seed: int = 0
    resamples: int = RESAMPLES
    units: tuple[int, ...] = ()
    """For each case the number of its patient, from 0; empty where every case is on its own."""

    @property
    def higher_is_better(self) -> bool:
        """Of :attr:`metric`."""
        return higher_is_better(self.metric)

    def per_unit(self, values: Floats) -> Floats:
        """(cases,) -> (units,): the mean over the cases of a patient; NaN where none is defined."""
        if not self.units:
            return values
        units = np.array(self.units)
        return np.array([mean_of_defined(values[units == unit], 0) for unit in range(units.max() + 1)])

    def interval(self, values: Floats, known: NDArray[np.bool_]) -> Interval:
        """Of the mean over cases, for each replicate and class, averaged over classes, then replicates.

        Args:
            values: (replicates, cases, classes), anything where not known.
            known: which values count.

        Patients are drawn with all their cases.
        """
        replicates, cases, classes = values.shape
        if not cases:
            return Interval.none("no case", 1 - self.alpha)
        flat = np.where(known, values, 0.0).transpose(1, 0, 2).reshape(cases, -1)
        counted = known.transpose(1, 0, 2).reshape(cases, -1).astype(np.float64)

        units = np.array(self.units or range(cases))

        def mean(drawn: Floats) -> Floats:
            weights = drawn[:, units]
            count = weights @ counted
            with np.errstate(invalid="ignore"):  # infinite distances: told by the interval
                sums = weights @ flat
            means = np.where(count > 0, sums / np.where(count > 0, count, 1), np.nan)
            return mean_of_defined(mean_of_defined(means.reshape(-1, replicates, classes), 2), 1)

        return bootstrap(
            mean, int(units.max()) + 1, level=1 - self.alpha, resamples=self.resamples, seed=self.seed
        )


def higher_is_better(metric: str) -> bool:
    """Overlap grows towards its best, distances shrink."""
    return metric not in DISTANCES


def summaries(arms: Sequence[Arm], metrics: Sequence[str], rule: Rule) -> tuple[Summary, ...]:
    """Every metric of every arm, as the mean over classes and for each class."""
    labels = (None, *arms[0].classes) if len(arms[0].classes) > 1 else (None, *arms[0].classes[:1])
    return tuple(_summary(arm, m, label, rule) for arm in arms for m in metrics for label in labels)


def _summary(arm: Arm, metric: str, label: str | None, rule: Rule) -> Summary:
    values = arm.values(metric)
    if label is not None:
        values = values[:, :, [arm.classes.index(label)]]
    known = ~np.isnan(values)
    found = statistics(arm.per_replicate(metric, label))
    defined = int(known.any(axis=(0, 2)).sum())
    interval = rule.interval(values, known) if defined else Interval.none("no defined value")
    lost = int(np.count_nonzero(~known))
    return Summary(arm.name, metric, label, found.mean, found.sd, interval, arm.replicates, defined, lost)


def family(pairs: Iterable[tuple[Arm, Arm]], rule: Rule) -> tuple[PairTest, ...]:
    """Paired tests of arms, corrected together."""
    tests = [_test(a, b, rule) for a, b in pairs]
    corrected = holm([test.p for test in tests])
    return tuple(replace(test, p_holm=p) for test, p in zip(tests, corrected, strict=True))


def all_pairs(arms: Sequence[Arm], rule: Rule) -> tuple[PairTest, ...]:
    """Every pair once, the better arm (by its mean) first."""
    return family(combinations(ordered(arms, rule), 2), rule)


def ordered(arms: Iterable[Arm], rule: Rule) -> list[Arm]:
    """Best mean first; arms without a mean last."""

    def key(arm: Arm) -> tuple[bool, float, str]:
        mean = statistics(arm.per_replicate(rule.metric)).mean
        return math.isnan(mean), -mean if rule.higher_is_better else mean, arm.name

    return sorted(arms, key=key)


def _test(a: Arm, b: Arm, rule: Rule) -> PairTest:
    paired = pair(*(rule.per_unit(arm.per_case(rule.metric)) for arm in (a, b)))
    tested = signed_rank(paired.differences)
    wins, ties, losses = paired.counts(higher_is_better=rule.higher_is_better)
    cube = paired.differences.reshape(1, -1, 1)
    return PairTest(
        a=a.name,
        b=b.name,
        metric=rule.metric,
        n=paired.n,
        excluded=paired.excluded,
        difference=float(paired.differences.mean()) if paired.n else math.nan,
        interval=replace(rule, units=()).interval(cube, np.ones(cube.shape, dtype=bool)),
        p=tested.p,
        p_holm=math.nan,
        exact=tested.exact,
        wins=wins,
        ties=ties,
        losses=losses,
        effect=tested.effect if rule.higher_is_better else -tested.effect,
        why_not=tested.why_not,
    )


def ranking(arms: Sequence[Arm], rule: Rule) -> Ranking:
    """Mean ranks over the cases that every arm defines, Friedman's test and Nemenyi's difference."""
    scores = np.stack([rule.per_unit(arm.per_case(rule.metric)) for arm in arms], axis=1)
    used = ~np.isnan(scores).any(axis=1)
    found = friedman(scores[used] if rule.higher_is_better else -scores[used])
    order = np.argsort(found.mean_ranks, kind="stable")
    ranks = {arms[i].name: float(found.mean_ranks[i]) for i in order}
    width, groups = math.nan, []
    if found.n and len(arms) > 1:
        width = critical_difference(len(arms), found.n, rule.alpha)
        groups = cliques(list(ranks.values()), width)
    names = list(ranks)
    return Ranking(
        metric=rule.metric,
        mean_ranks=ranks,
        n=found.n,
        excluded=int(np.count_nonzero(~used)),
        friedman=found.statistic,
        p=found.p,
        critical_difference=width,
        cliques=tuple(tuple(names[first : last + 1]) for first, last in groups),
        why_not=found.why_not,
    )
