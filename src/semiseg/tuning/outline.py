"""What a tuning would do: its cases and folds, its plan, its search, its metric. Nothing is trained here.

Each fold of the labeled cases is held out once, and the others teach. The dataset that comes out knows the
labels of the labeled cases and no others: those of unlabeled, test and validation cases have no path.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg import methods
from semiseg.dataset.case import Case, LabeledCase, plain
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.folds import by_patient, count_of, dealt
from semiseg.dataset.split import Split
from semiseg.dataset.split_file import Fold, SplitFile
from semiseg.errors import SemisegError, plural, unknown_name
from semiseg.evaluation.case import DISTANCES, OVERLAP
from semiseg.evaluation.results import key_of
from semiseg.machine.hardware import cores, select_device
from semiseg.preparation.plan import Plan
from semiseg.preparation.prepare import plan_for, split_dataset
from semiseg.settings.config import Config
from semiseg.settings.resolve import with_length, with_network
from semiseg.tuning.search import Search, make_search, without_deviating_values

FOLDS = 4


def folded(dataset: Dataset, split: Split, wanted: int | None) -> Dataset:
    """The dataset cut down to what tuning may see, with folds of its labeled cases.

    As many folds as wanted (None: 4), at most one for each case or patient.
    """
    rule = dataset.splits.patients if dataset.splits else None
    labeled, unlabeled = ([case.id for case in cases] for cases in (split.labeled, split.unlabeled))
    groups = by_patient(labeled, rule)
    count = count_of(groups, wanted, rule, FOLDS)
    source = f"tuning, {plural(count, 'fold')} of {split.source}"
    return cut_down(dataset, labeled, unlabeled, dealt(groups, count), source)


def cut_down(
    dataset: Dataset,
    labeled: Sequence[str],
    unlabeled: Sequence[str],
    held_out: Sequence[Sequence[str]],
    source: str,
) -> Dataset:
    """The dataset with these cases alone, each fold holding out some of the labeled ones."""
    cases: dict[str, Case] = {c.id: c for c in (*dataset.test, *dataset.annotated, *dataset.unannotated)}
    folds = tuple(
        Fold(tuple(name for name in labeled if name not in held), tuple(unlabeled), tuple(held))
        for held in held_out
    )
    return dataclasses.replace(
        dataset,
        annotated=tuple(case for name in labeled if isinstance(case := cases[name], LabeledCase)),
        unannotated=tuple(plain(cases[name]) for name in unlabeled),
        test=(),
        notices=[],
        splits=SplitFile(source, folds, test=()),
        split_faults=(),
    )


def fold_config(config: Config, fold: int) -> Config:
    """The configuration of one training: lists and plan come from outside, the last weights are scored."""
    plain = Config()
    # the best on the held-out cases would be scored on what it was chosen by
    update = {"data": plain.data, "plan": plain.plan, "select": "last"}
    return config.model_copy(update=update).changed("data", fold=fold).changed("train", max_time=None)


@dataclass(frozen=True)
class Metric:
    """What the folds are scored by: a metric of one class or, without ``label``, its foreground mean."""

    name: str
    label: str = ""

    @classmethod
    def parse(cls, text: str, labels: list[str]) -> Metric:
        """``Dice`` or ``HD95/left atrium``; ``labels`` are the foreground classes in their order.

        Raises:
            UsageError: there is no such metric, or no such class; names the nearest.
        """
        name, slash, label = text.partition("/")
        same = {metric.lower(): metric for metric in (*OVERLAP, *DISTANCES)}
        if name.lower() not in same:
            raise unknown_name("metric", name, same.values())
        if slash and label not in labels:
            raise unknown_name("class", label, labels)
        return cls(same[name.lower()], label)

    def __str__(self) -> str:
        return f"{self.name}/{self.label}" if self.label else self.name

    @property
    def higher_is_better(self) -> bool:
        """Distances are better when they are low."""
        return self.name not in DISTANCES

    @property
    def curve(self) -> str | None:
        """The column of ``metrics.csv`` that follows it during training; only Dice is measured then."""
        if self.name != "Dice":
            return None
        return f"val/dice/{self.label}" if self.label else "val/dice"

    def read(self, run: Path) -> float:
        """The score of a finished run on its validation list (SemisegError: no case defines it)."""
        summary = json.loads((run / "validation" / "summary.json").read_text())
        means = summary["foreground_mean"]
        if self.label:
            means = summary["mean"][key_of(summary["labels"][self.label])]
        value = means[self.name]
        if value is None:
            raise SemisegError(
                f"{run}: no held-out case has a {self}",
                hint="choose another metric, or fewer folds, so that each holds a case with every class",
                code="NO_SCORE",
            )
        return float(value)


@dataclass(frozen=True)
class Outline:
    """A tuning before its first trial.

    Attributes:
        dataset: cut down to what the trials may see, with the folds as its lists.
        split: the lists of a run on all labeled cases.
        plan: shared by all trials; a run on all labeled cases would have the same.
        search: what is searched, around a configuration whose iterations are those of a trial.
        wanted: that configuration with the iterations of the final training.
        metric: what trials are ranked by.
        device: cpu, cuda, cuda:N or mps.
    """

    dataset: Dataset
    split: Split
    plan: Plan
    search: Search
    wanted: Config
    metric: Metric
    device: str

    @property
    def lists(self) -> tuple[Fold, ...]:
        """The cases of each fold."""
        return self.dataset.splits.folds if self.dataset.splits else ()

    @property
    def folds(self) -> int:
        """Trainings per trial."""
        return len(self.lists)

    @property
    def iterations(self) -> int:
        """Of each training."""
        return int(self.search.config.train.iterations)

    @property
    def basis(self) -> str:
        """What a choice rests on, in words."""
        labeled = len(self.split.labeled)
        fewest = min(len(fold.labeled or ()) for fold in self.lists)
        return (
            f"{plural(labeled, 'labeled case')} in {plural(self.folds, 'fold')}, each held out once while "
            f"{fewest if self.folds * (labeled - fewest) == labeled else f'{fewest} or more'} teach"
        )

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "dataset": self.dataset.name,
            "method": self.wanted.method.name,
            "metric": str(self.metric),
            "labeled": len(self.split.labeled),
            "folds": self.folds,
            "iterations": self.iterations,
            "basis": self.basis,
            "space": {name: str(axis) for name, axis in self.search.axes.items()},
            "start": dict(self.search.start),
            "not_searched": dict(self.search.left_out),
        }

    @property
    def terms(self) -> dict[str, Any]:
        """What must be the same when the tuning is gone on with, as JSON."""
        held_out = [list(fold.val) for fold in self.lists]
        labeled = [case.id for case in self.split.labeled]
        dealt = {}
        if held_out != [labeled[number :: self.folds] for number in range(self.folds)]:  # by patient
            dealt = {"held_out": hashlib.sha256(json.dumps(held_out).encode()).hexdigest()[:12]}
        return {
            **dealt,
            "dataset": self.dataset.name,
            "lists": self.split.sha256(),
            "folds": self.folds,
            "metric": str(self.metric),
            "space": {name: str(axis) for name, axis in self.search.axes.items()},
            "config": self.search.config.model_dump_json(),
            "plan": hashlib.sha256(self.plan.model_dump_json(exclude={"seen"}).encode()).hexdigest(),
        }


def outline(
    dataset: Dataset,
    config: Config,
    *,
    space: Sequence[str] = (),
    only: Sequence[str] = (),
    metric: str = "Dice",
    iterations: int | None = None,
    folds: int | None = None,
    plan: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> Outline:
    """Decide everything that can be decided before training.

    Raises:
        UsageError: fewer than two labeled cases, unknown names, ranges that do not fit, nothing to search.
    """
    device = str(select_device(device))
    kind = device.partition(":")[0]
    workers = cores() if workers is None else workers
    methods.require_form(config.method.name, dataset.label_form)
    split = split_dataset(dataset, config)
    shown = folded(dataset, split, folds)
    made = plan_for(dataset, split, config, device=device, workers=workers, file=plan)
    config = with_network(config, made.network.name)
    trial = config if iterations is None else config.changed("train", iterations=iterations)
    search = without_deviating_values(make_search(with_length(trial, kind, made.dim), space, only), made)
    return Outline(shown, split, made, search, config, Metric.parse(metric, list(made.structures)), device)
