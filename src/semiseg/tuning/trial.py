"""One trial: the trainings of one setting, a run folder per fold, scored on what each fold held out."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.dataset.dataset import Dataset
from semiseg.machine.claim import held
from semiseg.runs.events import Event, Stop, Validated
from semiseg.runs.log import read_metrics
from semiseg.runs.run import Run
from semiseg.settings.config import Config
from semiseg.training.train import train
from semiseg.tuning.outline import Metric, cut_down, fold_config


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

    def as_dict(self) -> dict[str, Any]:
        """As JSON, for a worker: the dataset by its folder and the names of its cases."""
        lists = self.dataset.splits
        return {
            "dataset": str(self.dataset.root.absolute()),
            "labeled": [case.id for case in self.dataset.annotated],
            "unlabeled": [case.id for case in self.dataset.unannotated],
            "held_out": [list(fold.val) for fold in lists.folds] if lists else [],
            "source": lists.source if lists else "",
            "plan": str(self.plan.absolute()),
            "metric": dataclasses.asdict(self.metric),
            "prune": self.prune,
        }

    @classmethod
    def of(cls, told: Mapping[str, Any], device: str) -> Bench:
        """The bench that :meth:`as_dict` tells of, on a device."""
        opened = Dataset.open(told["dataset"])
        dataset = cut_down(opened, told["labeled"], told["unlabeled"], told["held_out"], told["source"])
        folds, metric = len(told["held_out"]), Metric(**told["metric"])
        return cls(dataset, Path(told["plan"]), folds, metric, told["prune"], device)


@dataclass(frozen=True)
class TrialJob:
    """One trial to be trained."""

    config: Config
    folder: Path

    def fold(self, number: int) -> Path:
        """The run folder of a fold."""
        return self.folder / f"fold-{number}"


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
    reports = Reports(bench, job, report)
    with held(job.folder, "-o", patience=60.0):  # a worker whose leader was killed may still save there
        for number in range(bench.folds):
            try:
                _train(bench, job, number, reports)
                reports.new()
                bench.metric.read(job.fold(number))  # says now, not after all folds, that it is not defined
            except Pruned:
                slim(job.fold(number))
                raise
            slim(job.fold(number))
    return scored(bench, job)


def scored(bench: Bench, job: TrialJob) -> Scored:
    """The scores of a trial whose folds are trained (SemisegError: a fold does not define the metric)."""
    folds = [job.fold(number) for number in range(bench.folds)]
    scores = tuple(bench.metric.read(folder) for folder in folds)
    return Scored(scores, tuple(Run(folds[-1]).manifest["deviations"]))


class Reports:
    """Listener that hands on the scores of a trial on its way, also those from before an interruption.

    They are read from the run folders: the validation scores of the first fold, then the mean of the folds
    that are done.
    """

    def __init__(self, bench: Bench, job: TrialJob, report: Report) -> None:
        self.bench, self.job, self.report = bench, job, report
        self.told: set[int] = set()

    def __call__(self, event: Event) -> None:
        """Hand on what is new (Pruned: the answer was to stop)."""
        if isinstance(event, Validated):
            self.new()

    def new(self) -> None:
        """Hand on the scores that were not handed on yet.

        Raises:
            Pruned: the answer was to stop.
            SemisegError: no held-out case of a fold defines the metric.
        """
        for place, score in self._on_disk():
            if place not in self.told:
                self.told.add(place)
                if self.report(place, score):
                    raise Pruned

    def _on_disk(self) -> Iterator[tuple[int, float]]:
        column = self.bench.metric.curve
        if not self.bench.prune:
            return
        for row in read_metrics(self.job.fold(0)) if column else ():
            if row["event"] == "validated" and column in row:
                yield int(row["step"]), float(row[column])
        total, scores = int(self.job.config.train.iterations), []
        for number in range(self.bench.folds - 1):
            if not _is_done(self.job.fold(number)):
                return
            scores.append(self.bench.metric.read(self.job.fold(number)))
            yield total + 1 + number, sum(scores) / len(scores)


def _train(bench: Bench, job: TrialJob, fold: int, reports: Reports) -> None:
    folder = job.fold(fold)
    if _is_done(folder):
        return
    config = fold_config(job.config, fold)
    total = int(config.train.iterations)
    follows = fold == 0 and bench.prune and bench.metric.curve is not None
    checks = CHECKS if follows else 1
    train(
        bench.dataset,
        config.changed("validation", every=max(total // checks, 1), patience=None),
        run=folder,
        plan=bench.plan,
        device=bench.device,
        workers=0,  # the cases are in the store already
        resume=True,
        listeners=[reports] if follows else [],
    )


def _is_done(folder: Path) -> bool:
    """Whether the training has ended and its validation is written; its weights may be gone."""
    return (folder / "manifest.json").is_file() and Run(folder).manifest["ended"] is not None


def slim(folder: Path) -> None:
    """Delete weights and predictions, which would fill the disk; what explains a score stays."""
    for name in ("checkpoints", "tb"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for picture in (folder / "validation").glob("*.nii.gz"):
        picture.unlink(missing_ok=True)
