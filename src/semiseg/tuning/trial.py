"""One trial: the trainings of one setting, a run folder per fold, scored on what each fold held out."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.dataset.dataset import Dataset
from semiseg.runs.events import Event, Stop, Validated
from semiseg.runs.log import read_metrics
from semiseg.runs.run import Run
from semiseg.settings.config import Config
from semiseg.training.train import train
from semiseg.tuning.outline import Metric, fold_config


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the study has it.

    Attributes:
        number: from 0, which is the setting as it was before tuning.
        state: ``done``, ``pruned``, ``failed``, ``died`` (and tried again) or ``running``.
        values: of what is searched; empty for a start that is not in the space.
        folds: score per fold.
        note: why it failed.
        attempt: from 1; an earlier one died.
        home: number under which its runs are kept.
        repeats: an earlier trial with the same values, whose score it has.
    """

    number: int
    state: str
    values: Mapping[str, Any]
    score: float | None = None
    folds: tuple[float, ...] = ()
    seconds: float | None = None
    note: str = ""
    attempt: int = 1
    home: int = 0
    repeats: int | None = None
    deviations: tuple[str, ...] = ()
    start: bool = False


def better(entries: Sequence[TrialRecord], *, higher_is_better: bool) -> list[TrialRecord]:
    """The scored trials without repetitions, best first."""
    scored = [entry for entry in entries if entry.state == "done" and entry.repeats is None]
    sign = -1 if higher_is_better else 1
    return sorted(scored, key=lambda entry: (sign * (entry.score or 0.0), entry.number))


CHECKS = 5
"""Validations of the first fold's training, at which a trial may be stopped."""

Report = Callable[[int, float], bool]
"""``report(place, score)`` -> whether the trial should stop there. Places grow over a trial: iterations of
the first fold, then one per fold that is done."""


class Pruned(Stop):
    """The trial is not worth its remaining trainings."""


@dataclass(frozen=True)
class Bench:
    """What all trials share."""

    dataset: Dataset
    plan: Path
    folds: int
    metric: Metric
    prune: bool = True
    device: str = "cpu"

    def on(self, device: str) -> Bench:
        """The same on another device."""
        return dataclasses.replace(self, device=device)


@dataclass(frozen=True)
class TrialJob:
    """One trial to be trained."""

    number: int
    config: Config
    folder: Path


@dataclass(frozen=True)
class Scored:
    """What came of a trial: a score per fold, and in what its runs depart from honest practice."""

    folds: tuple[float, ...]
    deviations: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Every fold counts the same."""
        return sum(self.folds) / len(self.folds)


def run_trial(bench: Bench, job: TrialJob, report: Report) -> Scored:
    """Train every fold, or what is left of it after an interruption.

    Raises:
        Pruned: ``report`` said so; the weights are gone then.
        Interrupted: Ctrl-C; the training at hand is saved.
        SemisegError: this setting cannot be trained.
    """
    scores: list[float] = []
    deviations: tuple[str, ...] = ()
    total = int(job.config.train.iterations)
    for fold in range(bench.folds):
        folder = job.folder / f"fold-{fold}"
        curve = Curve(folder, bench.metric.curve if bench.prune and fold == 0 else None, report)
        try:
            _train(bench, job, fold, folder, curve)
            curve.replay()
            scores.append(bench.metric.read(folder))
            deviations = tuple(Run(folder).manifest["deviations"])
            later = bench.folds > fold + 1
            if bench.prune and later and report(total + 1 + fold, sum(scores) / len(scores)):
                raise Pruned
        except Pruned:
            _slim(folder)
            raise
        _slim(folder)
    return Scored(tuple(scores), deviations)


class Curve:
    """Listener that hands each validation score on, also those from before an interruption."""

    def __init__(self, folder: Path, column: str | None, report: Report) -> None:
        self.folder, self.column, self.report = folder, column, report
        self.told: set[int] = set()

    def __call__(self, event: Event) -> None:
        """Hand on what is new.

        Raises:
            Pruned: the answer was to stop.
        """
        if isinstance(event, Validated):
            self.replay()

    def replay(self) -> None:
        """The rows of the file that were not handed on yet."""
        for row in read_metrics(self.folder) if self.column else ():
            step = int(row["step"])
            if row["event"] != "validated" or step in self.told or self.column not in row:
                continue
            self.told.add(step)
            if self.report(step, float(row[self.column])):
                raise Pruned


def _train(bench: Bench, job: TrialJob, fold: int, folder: Path, curve: Curve) -> None:
    if _is_done(folder):
        return
    config = fold_config(job.config, fold)
    total = int(config.train.iterations)
    checks = CHECKS if curve.column else 1
    train(
        bench.dataset,
        config.changed("validation", every=max(total // checks, 1), patience=None),
        run=folder,
        plan=bench.plan,
        device=bench.device,
        workers=0,  # the cases are in the store already
        resume=True,
        listeners=[curve],
    )


def _is_done(folder: Path) -> bool:
    """Whether the training has ended and its validation is written; its weights may be gone."""
    return (folder / "manifest.json").is_file() and Run(folder).manifest["ended"] is not None


def _slim(folder: Path) -> None:
    """Keep what explains a score; weights and predictions of many trials would fill the disk."""
    for name in ("checkpoints", "tb"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for picture in (folder / "validation").glob("*.nii.gz"):
        picture.unlink(missing_ok=True)
