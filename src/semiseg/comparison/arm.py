"""Runs that were scored, and the arms of a comparison: all runs that are alike but for seed and fold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bound = Literal["lower", "upper"]
Source = Literal["test", "validation"]


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
    config: Mapping[str, Any]
    """The resolved configuration, as in ``config.yaml``."""
    plan: Mapping[str, Any]
    manifest: Mapping[str, Any]
    split: Mapping[str, Any]
    curve: tuple[Mapping[str, str | float], ...]
    """Rows of ``metrics.csv``, see :func:`semiseg.report.files.read_metrics`."""
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
    """Those that count, the same for all arms of a board."""
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

    def values(self, metric: str) -> Floats:
        """(replicates, cases, classes); NaN where a value is not defined or a fold is missing."""
        found = np.full((self.replicates, len(self.cases), len(self.classes)), np.nan)
        place = {case: i for i, case in enumerate(self.cases)}
        for row, runs in zip(found, self.replicated, strict=True):
            for run in runs:
                columns = [run.classes.index(name) for name in self.classes]
                for values, case in zip(run.scores[metric], run.cases, strict=True):
                    if case in place:
                        row[place[case]] = values[columns]
        return found

    def per_case(self, metric: str, label: str | None = None) -> Floats:
        """(cases,): the mean over classes (or one class), then over replicates; NaN where none is defined."""
        values = self.values(metric)
        if label is not None:
            values = values[:, :, [self.classes.index(label)]]
        return mean_of_defined(mean_of_defined(values, 2), 0)

    def per_replicate(self, metric: str, label: str | None = None) -> Floats:
        """(replicates,): the mean over cases for each class, then over classes, as ``semiseg evaluate``."""
        values = self.values(metric)
        if label is not None:
            values = values[:, :, [self.classes.index(label)]]
        return mean_of_defined(mean_of_defined(values, 1), 1)

    @property
    def cost(self) -> Cost:
        """Medians over the runs."""

        def median(values: Sequence[float]) -> float:
            known = [value for value in values if not math.isnan(value)]
            return float(np.median(known)) if known else math.nan

        costs = [run.cost for run in self.runs]
        return Cost(
            median([cost.step_seconds for cost in costs]),
            median([cost.minutes for cost in costs]),
            median([cost.memory_gb for cost in costs]),
            median([cost.parameters for cost in costs]),
        )


def mean_of_defined(values: Floats, axis: int) -> Floats:
    """The mean along an axis without NaN; NaN where there is nothing else, and no warning."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0.0).sum(axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
