"""What a tuning would do: its cases and folds, its plan, its search. Nothing is trained here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.config import Config
from semiseg.data.dataset import Dataset
from semiseg.data.plan import Plan
from semiseg.data.split import Split
from semiseg.experiment import resolved
from semiseg.prepare import plan_for, split_dataset
from semiseg.resolve import with_network
from semiseg.tuning.folds import fold_count, folded
from semiseg.tuning.honest import honest
from semiseg.tuning.metric import Metric
from semiseg.tuning.search import Search, make_search


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
        folds: trainings per trial.
        device: cpu, cuda, cuda:N or mps.
    """

    dataset: Dataset
    split: Split
    plan: Plan
    search: Search
    wanted: Config
    metric: Metric
    folds: int
    device: str

    @property
    def iterations(self) -> int:
        """Of each training."""
        return int(self.search.config.train.iterations)

    @property
    def basis(self) -> str:
        """What a choice rests on, in words."""
        labeled = len(self.split.labeled)
        fewest = (
            min(len(fold.labeled or ()) for fold in self.dataset.splits.folds) if self.dataset.splits else 0
        )
        return (
            f"{labeled} labeled cases in {self.folds} folds, each held out once while "
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
        return {
            "dataset": self.dataset.name,
            "lists": self.split.sha256(),
            "folds": self.folds,
            "metric": str(self.metric),
            "space": {name: str(axis) for name, axis in self.search.axes.items()},
            "config": self.search.config.model_dump_json(),
            "plan": hashlib.sha256(self.plan.model_dump_json().encode()).hexdigest(),
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
    plan_file: Path | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> Outline:
    """Decide everything that can be decided before training.

    Args:
        dataset: an opened dataset.
        config: the settings to search around; its data section says which cases are labeled.
        space: see :func:`semiseg.tuning.search.make_search`.
        only: see there.
        metric: ``Dice``, ``HD95``, ..., or of one class, ``Dice/CLASS``.
        iterations: of each training; None is what ``config`` has for the final one.
        folds: None is 4, or as many as there are labeled cases or patients.
        plan_file: use this plan.
        device: as it is, not ``auto``.
        workers: processes that measure the images.

    Raises:
        UsageError: fewer than two labeled cases, unknown names, ranges that do not fit, nothing to search.
    """
    kind = device.partition(":")[0]
    split = split_dataset(dataset, config)
    count = fold_count(dataset, split, folds)
    plan = plan_for(dataset, split, config, device=device, workers=workers, file=plan_file)
    config = with_network(config, plan.network.name)
    trial = config
    if iterations is not None:
        trial = config.model_copy(
            update={"train": config.train.model_copy(update={"iterations": iterations})}
        )
    search = honest(make_search(resolved(trial, kind), space, only), plan)
    labels = list(plan.labels)[1:]
    return Outline(
        folded(dataset, split, count),
        split,
        plan,
        search,
        config,
        Metric.parse(metric, labels),
        count,
        device,
    )
