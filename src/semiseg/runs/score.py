"""What a run scored at its end, and on which cases; or why it has no score, and how to get one."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from semiseg.dataset.case import LabeledCase
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.split import Split
from semiseg.errors import UsageError, plural
from semiseg.evaluation.results import Evaluation


@dataclass(frozen=True)
class Score:
    """The Dice that a run ends with.

    Attributes:
        dice: the mean over the foreground classes; None where there is no score.
        classes: class -> mean Dice over the cases that define it.
        cases: how many were scored.
        scored_on: which cases these are, and what part they had in the training.
        folder: of the predictions and scores, relative to the run.
        reason: why there is no score.
        commands: each of which would give one.
    """

    dice: float | None = None
    classes: dict[str, float | None] = field(default_factory=dict)
    cases: int = 0
    scored_on: str = ""
    folder: str = ""
    reason: str = ""
    commands: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For ``manifest.json`` and ``--json``."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The score in a line; or the reason, and a line for each way to get one."""
        if self.dice is None:
            return [f"no score: {self.reason}", *(f"to get one: {command}" for command in self.commands)]
        each = [f"{name} {_number(value)}" for name, value in self.classes.items()]
        told = f" ({', '.join(each)})" if len(each) > 1 else ""
        return [f"score: Dice {self.dice:.3f}{told} on {self.scored_on}"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def of_evaluation(evaluation: Evaluation, scored_on: str, folder: str) -> Score:
    """The score of the cases in ``evaluation``; without one where no class is in any of them."""
    mean = evaluation.mean("Dice")
    means = evaluation.class_means("Dice")
    if mean != mean:
        return Score(cases=len(evaluation.cases), folder=folder, reason=f"no class is in any of {scored_on}")
    return Score(
        dice=mean,
        classes={name: value if value == value else None for name, value in means.items()},
        cases=len(evaluation.cases),
        scored_on=scored_on,
        folder=folder,
    )


def scored_on(split: Split, what: str, selection: str, fold: str = "") -> str:
    """The cases that a run is scored on, and what part they had."""
    if what == "held_out":
        return f"{plural(len(split.held_out), 'held-out case')} of {fold}, which the training has not seen"
    part = "which chose the weights" if selection == "best-val" else "on which no weights were chosen"
    return f"{plural(len(split.val), 'validation case')}, {part}"


def unscored(dataset: Dataset, split: Split, run: Path) -> Score:
    """Why a run on all labeled cases has no score, and what would give one."""
    commands: list[str] = []
    name = shlex.quote(str(dataset.root))
    were = plural(len(split.labeled), "labeled case was", "labeled cases were all")
    reason = f"the {were} trained on, and there is no validation list"
    if any(isinstance(case, LabeledCase) for case in dataset.test):
        commands.append(" && ".join(to_score(run, str(dataset.root))))
    try:
        published = dataset.fold_count() is None
    except UsageError:
        return Score(reason=f"{reason}; a second labeled patient could be held out", commands=tuple(commands))
    commands.append(f"semiseg {'split' if published else 'train'} {name} {_WAY[published]}")
    return Score(reason=reason, commands=tuple(commands))


_WAY = {False: "--fold all", True: "--val 0.2 --overwrite"}
"""What makes held-out cases, where the split file has no folds and where it has some without any."""


def to_score(run: Path, dataset: str) -> tuple[str, str]:
    """The commands that predict and score a run's test cases, to be given where the dataset's folder lies."""
    where, out = (shlex.quote(str(path)) for path in (run, run / "test"))
    images, labels = (shlex.quote(f"{dataset}/{part}") for part in ("imagesTs", "labelsTs"))
    return (
        f"semiseg predict -i {images} -o {out} -m {where}",
        f"semiseg evaluate {labels} {out} --dataset {shlex.quote(dataset)}",
    )
