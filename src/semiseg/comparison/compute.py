"""The numbers of a group: summaries, paired tests and ranks, from arms whose cases are the same.

Beside them, what papers reported for the same method, dataset and number of labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from semiseg import methods
from semiseg.comparison.result import (
    Arm,
    Floats,
    Interval,
    PairTest,
    Published,
    Ranking,
    Summary,
    mean_of_defined,
)
from semiseg.comparison.statistics import (
    RESAMPLES,
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
from semiseg.methods import published
from semiseg.settings.options import declared


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
        """Overlap grows towards its best, distances shrink."""
        return self.metric not in DISTANCES

    def per_unit(self, values: Floats) -> Floats:
        """(cases,) -> (units,): the mean over the cases of a patient; NaN where none is defined."""
        if not self.units:
            return values
        units = np.array(self.units)
        return np.array([mean_of_defined(values[units == unit], 0) for unit in range(units.max() + 1)])

    def interval(self, values: Floats, known: NDArray[np.bool_]) -> Interval:
        """The interval of the mean over cases, which is averaged over classes, then over replicates.

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


def summaries(arms: Sequence[Arm], metrics: Sequence[str], rule: Rule) -> tuple[Summary, ...]:
    """Every metric of every arm, as the mean over classes and for each class."""
    labels = (None, *arms[0].classes)
    return tuple(_summary(arm, m, label, rule) for arm in arms for m in metrics for label in labels)


def _summary(arm: Arm, metric: str, label: str | None, rule: Rule) -> Summary:
    values = arm.values(metric, label)
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


COLUMNS = {"Dice": "dice", "Jaccard": "jaccard", "HD95": "hd95", "ASD": "asd"}
PERCENT = ("Dice", "Jaccard")
"""Published in percent; here in [0, 1]."""

Row = dict[str, str]


def beside(
    arms: Iterable[Arm], metrics: Sequence[str], summaries: Sequence[Summary]
) -> tuple[Published, ...]:
    """Published figures of the arms' methods on the same dataset with as many labels.

    A figure is comparable when the run follows the recipe that the table of published figures names for it.
    Papers give distances in voxels: beside millimeters they have no gap.
    """
    means = {(s.arm, s.metric): s.mean for s in summaries if s.label is None}
    found = []
    for arm in arms:
        for row in published(arm.method):
            if not _same_setting(row, arm):
                continue
            for metric in metrics:
                if value := row.get(COLUMNS.get(metric, ""), ""):
                    found.append(_figure(row, arm, metric, float(value), means[arm.name, metric]))
    return tuple(found)


def _same_setting(row: Row, arm: Arm) -> bool:
    """Whether a published row is of the same dataset, with as many labels of the same kind."""
    if not row["labeled"] or not _same_dataset(row["dataset"], arm.dataset):
        return False
    patients = arm.runs[0].config["data"]["labeled_patients"]
    if row["unit"] == "patients":
        return patients is not None and float(row["labeled"]) == patients
    return row["unit"] == "scans" and float(row["labeled"]) == arm.labeled


def _same_dataset(paper: str, ours: str) -> bool:
    """Whether a paper's dataset is ours: ``left atrium`` is ``Dataset101_LeftAtrium``."""
    names = (paper, re.sub(r"^Dataset\d+_", "", ours))
    theirs, known = (re.sub(r"[^a-z0-9]", "", name.lower()) for name in names)
    return bool(theirs) and known.startswith(theirs)


def _other_options(row: Row, arm: Arm) -> list[str]:
    """Options that a published setting (``dice=acdc_legacy``) names and the run has otherwise."""
    known = declared(methods.find(arm.method)) if arm.method in methods.names() else {}
    given = arm.runs[0].config["method"]["options"]
    wanted = (part.partition("=") for part in re.split(r",\s*", row["setting"]))
    return [
        f"published with {name}={value}"
        for name, _, value in wanted
        if name in known and str(given.get(name, known[name].default)) != value
    ]


def _figure(row: Row, arm: Arm, metric: str, value: float, ours: float) -> Published:
    value = value / 100 if metric in PERCENT else value
    run = arm.runs[0]
    same_unit = metric in PERCENT or run.convention in ("uamt", "ssl4mis")
    named = re.findall(r"recipe ``(\w+)``", row["why"])
    why = row["why"].replace("``", "`")
    reasons = [] if run.recipe in named else [why or f"recipe {run.recipe}, not the paper's"]
    reasons += _other_options(row, arm)
    reasons += [] if same_unit else [f"papers give {metric} in voxels"]
    return Published(
        arm=arm.name,
        metric=metric,
        value=value,
        gap=ours - value if same_unit else math.nan,
        comparable=not reasons,
        why="; ".join(reasons),
        setting=row["setting"],
        source=row["source"],
    )
