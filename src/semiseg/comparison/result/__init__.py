"""What a comparison found, as plain data: every table, file and picture is drawn from these classes.

Not-a-number stands for what could not be computed; the text beside it (``why_not``, ``notices``) says why.

Runs that were scored, and the arms of a comparison: all runs that are alike but for seed and fold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semiseg.drawing.notebook import Tabular

Floats = NDArray[np.float64]
Bound = Literal["lower", "upper"]
Source = Literal["test", "held-out", "validation"]
Method = Literal["bca", "percentile"]
"""How an interval is made, see :func:`semiseg.comparison.statistics.bootstrap`."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval, or why there is none."""

    low: float
    high: float
    level: float = 0.95
    method: Method = "bca"
    why_not: str = ""
    """Empty when there is an interval."""

    @classmethod
    def none(cls, why: str, level: float = 0.95) -> Interval:
        """No interval, and why."""
        return cls(math.nan, math.nan, level, why_not=why)


@dataclass(frozen=True)
class Cost:
    """What a run needed; NaN where it was not recorded."""

    step_seconds: float = math.nan
    """Median over the logged iterations."""
    minutes: float = math.nan
    """Of all sessions together."""
    memory_gb: float = math.nan
    """Peak, of the device where there is one, else of the process."""
    parameters: float = math.nan
    """Of everything that was trained."""


@dataclass(frozen=True)
class RunScores:
    """One run and what it scored, read from its folder."""

    folder: Path
    dataset: str
    method: str
    variant: str
    """The name that a sweep gave these settings; blank without a sweep."""
    network: str
    recipe: str
    labeled: int
    """Cases with a label in training."""
    fold: int
    seed: int
    iterations: int
    """Done, not planned."""
    source: Source
    """Which cases were scored."""
    cases: tuple[str, ...]
    classes: tuple[str, ...]
    scores: Mapping[str, Floats]
    """Metric -> (cases, classes); NaN where the convention leaves an empty mask out."""
    convention: str
    nsd_tolerance_mm: float
    unit: str
    """Of distances: mm, px (no file has a spacing) or voxel."""
    config: Mapping[str, Any]
    """The resolved configuration, as in ``config.yaml``."""
    plan: Mapping[str, Any]
    manifest: Mapping[str, Any]
    split: Mapping[str, Any]
    curve: tuple[Mapping[str, str | float], ...]
    """Rows of ``metrics.csv``, see :func:`semiseg.runs.log.read_metrics`."""
    cost: Cost
    predictions: Path
    """The folder of predicted label maps."""
    files: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    """Case -> (reference, prediction), where the evaluation noted them."""
    bound: Bound | None = None
    """What a sweep meant this run to be."""
    notices: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether training came to its planned end."""
        sessions = self.manifest.get("sessions") or [{}]
        return sessions[-1].get("reason") in ("finished", "patience")


@dataclass(frozen=True)
class Arm:
    """All runs that are alike but for seed and fold."""

    name: str
    """Unique within a comparison; the same at every budget."""
    method: str
    dataset: str
    labeled: int
    runs: tuple[RunScores, ...]
    cases: tuple[str, ...]
    """Those that count, the same for all arms of a group."""
    classes: tuple[str, ...]
    bound: Bound | None = None
    """``lower``: supervised with the same labels. ``upper``: supervised with all labels."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Distinct seeds."""
        return tuple(sorted({run.seed for run in self.runs}))

    @cached_property
    def replicated(self) -> tuple[tuple[RunScores, ...], ...]:
        """Runs that together score every case once.

        All folds of one seed where folds score cases of their own, else each run by itself.
        """
        folds: dict[int, set[str]] = {}
        for run in self.runs:
            folds.setdefault(run.fold, set()).update(run.cases)
        total = sum(len(cases) for cases in folds.values())
        if len(folds) > 1 and total == len(set().union(*folds.values())):
            return tuple(tuple(r for r in self.runs if r.seed == seed) for seed in self.seeds)
        return tuple((run,) for run in self.runs)

    @property
    def replicates(self) -> int:
        """How many times each case was scored by a model of its own."""
        return len(self.replicated)

    def values(self, metric: str, label: str | None = None) -> Floats:
        """(replicates, cases, classes), or one class; NaN where undefined or where a fold is missing."""
        classes = self.classes if label is None else (label,)
        found = np.full((self.replicates, len(self.cases), len(classes)), np.nan)
        place = {case: i for i, case in enumerate(self.cases)}
        for row, runs in zip(found, self.replicated, strict=True):
            for run in runs:
                columns = [run.classes.index(name) for name in classes]
                for values, case in zip(run.scores[metric], run.cases, strict=True):
                    if case in place:
                        row[place[case]] = values[columns]
        return found

    def per_case(self, metric: str, label: str | None = None) -> Floats:
        """(cases,): the mean over classes (or one class), then over replicates; NaN where none is defined."""
        return mean_of_defined(mean_of_defined(self.values(metric, label), 2), 0)

    def per_replicate(self, metric: str, label: str | None = None) -> Floats:
        """(replicates,): the mean over cases for each class, then over classes, as ``semiseg evaluate``."""
        return mean_of_defined(mean_of_defined(self.values(metric, label), 1), 1)

    @property
    def cost(self) -> Cost:
        """Medians over the runs."""

        def median(name: str) -> float:
            known = [value for run in self.runs if not math.isnan(value := getattr(run.cost, name))]
            return float(np.median(known)) if known else math.nan

        return Cost(**{one.name: median(one.name) for one in fields(Cost)})


def mean_of_defined(values: Floats, axis: int) -> Floats:
    """The mean along an axis without NaN; NaN where there is nothing else, and no warning."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0.0).sum(axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


@dataclass(frozen=True)
class Summary:
    """One metric of one arm (of one class, or the mean over classes)."""

    arm: str
    metric: str
    label: str | None
    """None: the mean over classes."""
    mean: float
    """Over replicates of their mean over cases."""
    sd: float
    """Of those replicates (n - 1): how much a run depends on its seed. NaN for one."""
    interval: Interval
    """Over cases, the replicates held fixed: how much the mean depends on who was scanned."""
    replicates: int
    cases: int
    undefined: int
    """Values (of a replicate, case and class) that are left out, such as masks empty on both sides."""


@dataclass(frozen=True)
class PairTest:
    """Arm ``a`` against arm ``b``, case by case, on the comparison's metric."""

    a: str
    b: str
    metric: str
    n: int
    """Cases in which both are defined; patients, where it is known whose the cases are."""
    excluded: int
    """Cases (or patients) in which one is not."""
    difference: float
    """Mean of a - b over those, in the metric's own unit."""
    interval: Interval
    """Of that difference."""
    p: float
    """Wilcoxon signed-rank, two-sided; NaN: see ``why_not``."""
    p_holm: float
    """Corrected for all tests of the same family (the tuple that this test is in)."""
    exact: bool
    wins: int
    """Cases in which a is better."""
    ties: int
    losses: int
    effect: float
    """Matched-pairs rank-biserial correlation, in [-1, 1]; positive: a is better."""
    why_not: str = ""

    @property
    def win_rate(self) -> float:
        """Share of the cases that a wins, ties counted half."""
        return (self.wins + self.ties / 2) / self.n if self.n else math.nan


@dataclass(frozen=True)
class Ranking:
    """Mean ranks over cases (1 is best, ties share the mean), and which differ."""

    metric: str
    mean_ranks: Mapping[str, float]
    """Arm -> mean rank, best first."""
    n: int
    """Cases (or patients) that every arm defines."""
    excluded: int
    friedman: float
    """Chi-squared statistic."""
    p: float
    critical_difference: float
    """Of Nemenyi's test at the comparison's alpha."""
    cliques: tuple[tuple[str, ...], ...]
    """Maximal groups of arms, best first, whose mean ranks lie within the critical difference."""
    why_not: str = ""


@dataclass(frozen=True)
class Published:
    """A paper's figure beside an arm's."""

    arm: str
    metric: str
    value: float
    """In our units: Dice in [0, 1]."""
    gap: float
    """Ours minus the paper's; NaN where the units differ."""
    comparable: bool
    why: str
    setting: str
    source: str


@dataclass(frozen=True)
class MissingCell:
    """A run that should be in the table and is not."""

    dataset: str
    name: str
    labeled: int | None
    fold: int
    seed: int
    reason: str
    command: str = ""
    """What would fill it."""
    folder: Path | None = None

    @property
    def why(self) -> str:
        """Which run it is, and what is the matter with it."""
        labeled = "all" if self.labeled is None else self.labeled
        return f"{self.name}, {labeled} labeled, fold {self.fold}, seed {self.seed}: {self.reason}"

    def __str__(self) -> str:
        return self.why + (f"; {self.command}" if self.command else "")


@dataclass(frozen=True)
class Difference:
    """A setting in which arms differ."""

    key: str
    """Dotted, such as ``config.train.iterations`` or ``manifest.git.commit``."""
    values: Mapping[str, tuple[Any, ...]]
    """Arm -> its distinct values (several: its runs differ among themselves)."""


@dataclass(frozen=True)
class ArmGroup:
    """The arms of one dataset and one number of labels: what may be set side by side."""

    dataset: str
    labeled: int
    budget: str
    """As it was asked for: ``8 labeled``, ``2 labeled patients`` or ``all labeled``."""
    source: Source
    cases: tuple[str, ...]
    classes: tuple[str, ...]
    arms: tuple[Arm, ...]
    """Lower bound first, then by the metric, best first, the upper bound last."""
    baseline: str | None
    summaries: tuple[Summary, ...]
    against_baseline: tuple[PairTest, ...]
    """Every other arm of this budget against the baseline: one family for Holm's correction."""
    pairs: tuple[PairTest, ...]
    """All pairs of arms of this budget, the better first: a family of its own."""
    ranking: Ranking
    published: tuple[Published, ...] = ()
    missing: tuple[MissingCell, ...] = ()
    differences: tuple[Difference, ...] = ()
    """Settings, versions and hardware in which the arms differ."""
    notices: tuple[str, ...] = ()

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    def summary(self, arm: str, metric: str, label: str | None = None) -> Summary:
        """The summary of one arm, metric and class (None: the mean over classes)."""
        key = (arm, metric, label)
        return next(s for s in self.summaries if (s.arm, s.metric, s.label) == key)

    def test(self, arm: str) -> PairTest | None:
        """That arm against the baseline; None for the baseline itself and for an upper bound."""
        return next((test for test in self.against_baseline if test.a == arm), None)

    @property
    def upper(self) -> Arm | None:
        """Supervised with all labels."""
        return next((arm for arm in self.arms if arm.bound == "upper"), None)


@dataclass(frozen=True)
class Comparison(Tabular):
    """Groups, one per dataset and number of labels, and what holds for all of them."""

    groups: tuple[ArmGroup, ...]
    metric: str
    """The one that is tested and ranked."""
    metrics: tuple[str, ...]
    """Those that are shown, :attr:`metric` first."""
    alpha: float
    seed: int
    """Of the bootstrap."""
    resamples: int
    convention: str
    unit: str
    """Of distances: mm, px or voxel; mm where some data sets have a spacing and others have none."""
    nsd_tolerance_mm: float
    missing: tuple[MissingCell, ...] = ()
    """Of all groups."""
    notices: tuple[str, ...] = ()
    """What belongs to no group."""

    shown_by = "semiseg.comparison.report.tables"

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names, in the order of the groups."""
        return tuple(dict.fromkeys(group.dataset for group in self.groups))

    @property
    def names(self) -> tuple[str, ...]:
        """All arms, in the order in which they first appear."""
        return tuple(dict.fromkeys(arm.name for group in self.groups for arm in group.arms))

    def budgets(self, dataset: str) -> tuple[ArmGroup, ...]:
        """The groups of a dataset, fewest labels first."""
        return tuple(group for group in self.groups if group.dataset == dataset)
