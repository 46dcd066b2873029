"""``semiseg train --calibrate``: what a prediction with so much doubt is worth, from folds of the labels.

For each fold of the labeled cases a network is trained as the run was, without them, and predicts them; that
gives pairs of doubt and true Dice. The run itself has then as many known scans as labels. Networks of folds
have seen fewer labels than the run, so that the expected Dice is rather too low than too high.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from semiseg.dataset.case import PatientRule
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.folds import FOLDS, by_patient
from semiseg.dataset.split_file import Fold, SplitFile
from semiseg.errors import UsageError
from semiseg.machine.files import write_json
from semiseg.prediction.calibration import FEWEST, FILE, Calibration, Known
from semiseg.runs.run import Run
from semiseg.settings.config import Config, DataConfig

log = logging.getLogger("semiseg.train")

FOLDER = "calibration"

Trainer = Callable[[Dataset, Config, Path, Path], Run]
"""Trains on a dataset with a configuration and a plan, into a run folder; goes on with what is there."""


def folds_of(labeled: Sequence[str], rule: PatientRule | None, most: int = FOLDS) -> list[list[str]]:
    """The labeled cases in folds of about the same size; all cases of a patient are in one.

    Raises:
        UsageError: fewer than two patients.
    """
    patients = by_patient(labeled, rule)
    if len(patients) < 2:
        raise UsageError(
            f"{len(patients)} labeled patient cannot be split into folds",
            hint="train with two labels at least, or list held-out cases under 'val' in splits.json",
            code="CALIBRATE",
        )
    count = min(most, len(patients))
    held = [{case for patient in patients[fold::count] for case in patient} for fold in range(count)]
    return [[case for case in labeled if case in part] for part in held]


def tell_cost(labeled: Sequence[str], rule: PatientRule | None, iterations: object) -> None:
    """Say before the work how much more of it there will be."""
    count = len(folds_of(labeled, rule))
    log.info(
        "--calibrate: %d further trainings of %s iterations follow, on folds of the labels", count, iterations
    )


def calibrate(run: Run, dataset: Dataset, train: Trainer) -> Path:
    """Train on folds of a run's labels and write its ``calibration.json``; what is there already is used.

    Args:
        run: finished.
        dataset: that it was trained on.
        train: trains and returns the run.

    Returns:
        The file. A run with a validation list of :data:`FEWEST` scans has it already, and nothing is trained.
    """
    target = run.folder / FILE
    there = Calibration.load(target)
    if there is not None and there.usable:
        log.info("%s is calibrated already (%s)", run.folder, there.source)
        return target
    split = run.split
    rule = dataset.splits.patients if dataset.splits else None
    folds = folds_of(split["labeled"], rule)
    lists = tuple(
        Fold(tuple(c for c in split["labeled"] if c not in held), tuple(split["unlabeled"]), tuple(held))
        for held in folds
    )
    folded = replace(dataset, splits=SplitFile("folds of the labels", lists, (), rule), split_faults=())
    found: list[Known] = []
    options: dict[str, object] = {}
    for number in range(len(folds)):
        log.info("--calibrate: fold %d of %d", number + 1, len(folds))
        config = _config(run.config, number)
        made = train(folded, config, run.folder / FOLDER / f"fold-{number}", run.folder / "plan.json")
        part = Calibration.load(made.folder / FILE)
        if part is not None:
            found += part.known
            options = dict(part.options)
    Calibration(found, f"{len(folds)} folds of {len(split['labeled'])} labels", options).save(target)
    if len(found) < FEWEST:
        log.warning("%d labels are too few to calibrate by: %d are needed", len(found), FEWEST)
    write_json(run.folder / FOLDER / "folds.json", folds)
    return target


def _config(config: Config, fold: int) -> Config:
    """The same training on a fold, which chooses nothing on the cases that are left out."""
    data = DataConfig(fold=fold, memory_gb=config.data.memory_gb)
    iterations = config.train.iterations
    every = iterations if isinstance(iterations, int) else None
    start = config.start.model_copy(update={"file": None})  # that model has seen the labels of the fold
    validation = config.validation.model_copy(update={"every": every, "patience": None})
    return config.model_copy(
        update={"data": data, "start": start, "select": "last", "validation": validation}
    )
