"""What a comparison found, as plain data: every table, file and picture is drawn from these classes.

Not-a-number stands for what could not be computed; the text beside it (``why_not``, ``notices``) says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.comparison.arm import Arm, Cost, RunScores, Source
from semiseg.statistics.bootstrap import Interval

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "Arm",
    "Board",
    "Comparison",
    "Cost",
    "Difference",
    "Interval",
    "MissingCell",
    "PairTest",
    "Published",
    "Ranking",
    "RunScores",
    "Summary",
]


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

    def __str__(self) -> str:
        labeled = "all" if self.labeled is None else self.labeled
        where = f"{self.name}, {labeled} labeled, fold {self.fold}, seed {self.seed}"
        return f"{where}: {self.reason}" + (f"; {self.command}" if self.command else "")


@dataclass(frozen=True)
class Difference:
    """A setting in which arms differ."""

    key: str
    """Dotted, such as ``config.train.iterations`` or ``manifest.git.commit``."""
    values: Mapping[str, tuple[Any, ...]]
    """Arm -> its distinct values (several: its runs differ among themselves)."""


@dataclass(frozen=True)
class Board:
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
class Comparison:
    """Boards, one per dataset and number of labels, and what holds for all of them."""

    boards: tuple[Board, ...]
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
    """Of distances: mm or voxel."""
    nsd_tolerance_mm: float
    missing: tuple[MissingCell, ...] = ()
    """Of all boards."""
    notices: tuple[str, ...] = ()
    """What belongs to no board."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names, in the order of the boards."""
        return tuple(dict.fromkeys(board.dataset for board in self.boards))

    @property
    def names(self) -> tuple[str, ...]:
        """All arms, in the order in which they first appear."""
        return tuple(dict.fromkeys(arm.name for board in self.boards for arm in board.arms))

    def budgets(self, dataset: str) -> tuple[Board, ...]:
        """The boards of a dataset, fewest labels first."""
        return tuple(board for board in self.boards if board.dataset == dataset)

    def tables(self, *, per_class: bool = False) -> list[Table]:
        """What ``semiseg compare`` prints, as rich tables."""
        from semiseg.report.comparison_tables import shown
        from semiseg.report.table import terminal

        return [terminal(t) for board in self.boards for t in shown(self, board, per_class=per_class)]

    def save(self, folder: str | Path) -> list[Path]:
        """Write tables, figures and the report, and say which files (:func:`semiseg.comparison.write.write`).

        Raises:
            UsageError: the folder cannot be written.
        """
        from semiseg.comparison.write import write

        return write(self, Path(folder))

    def as_dict(self) -> dict[str, Any]:
        """As ``comparison.json`` has it."""
        from semiseg.comparison.record import as_dict

        return as_dict(self)
