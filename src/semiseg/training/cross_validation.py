"""A cross-validation: every fold trained in turn, the scores of all held-out cases together, one ensemble.

``semiseg train --calibrate`` cross-validates the labels of a run, so that it is known what a prediction with
so much doubt is worth. Networks of folds have seen fewer labels than the run, so that the expected Dice is
rather too low than too high.
"""

from __future__ import annotations

import logging
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semiseg.dataset.dataset import Dataset
from semiseg.dataset.folds import CaseIds, with_folds
from semiseg.dataset.folds import fold_count as count_folds
from semiseg.dataset.split_file import Fold, SplitFile
from semiseg.dataset.write_split import keep_folds
from semiseg.errors import Interrupted, UsageError, plural
from semiseg.evaluation.results import Evaluation
from semiseg.evaluation.tables import joined, read_evaluation, write
from semiseg.machine.claim import contents, held
from semiseg.machine.files import write_json
from semiseg.machine.hardware import cores, select_device
from semiseg.machine.stopping import StopRequest
from semiseg.prediction.doubt import FEWEST, FILE, Calibration, Known
from semiseg.prediction.members import ENSEMBLE
from semiseg.preparation.plan import NetworkPlan, Plan
from semiseg.preparation.prepare import split_dataset, with_fold_count
from semiseg.runs.events import Listener
from semiseg.runs.folder import RunFolder, cross_validation_name, not_empty
from semiseg.runs.run import Run
from semiseg.runs.score import Score, of_evaluation
from semiseg.settings.config import Config, DataConfig, PlanConfig
from semiseg.settings.flags import Settings, of_keywords
from semiseg.settings.resolve import with_network
from semiseg.training.single import Where, require_names, train_once

log = logging.getLogger("semiseg.train")

WRITTEN = (ENSEMBLE, "summary.json", "metrics.csv")
"""What a cross-validation leaves in its own folder."""


@dataclass(frozen=True)
class CrossValidation:
    """The trained folds, and the score of all cases that they held out.

    Attributes:
        folder: of ``summary.json``, ``metrics.csv`` and ``cross_validation.json``; ``predict`` takes it as a
            model, the ensemble of the folds.
        runs: one per fold.
        score: over all cases, each scored by the fold that has not seen it.
        evaluation: every case of it; None where the folds hold no cases out.
    """

    folder: Path
    runs: tuple[Run, ...]
    score: Score
    evaluation: Evaluation | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json`` and ``cross_validation.json``."""
        folds = [
            {"run": os.path.relpath(run.folder, self.folder), "dice": run.score.dice if run.score else None}
            for run in self.runs
        ]
        return {"folds": folds, "score": self.score.as_dict()}


def cross_validate(
    dataset: str | Path | Dataset,
    config: Config | str | Path | None = None,
    *,
    method: str | None = None,
    network: str | None = None,
    recipe: str | None = None,
    labeled: int | None = None,
    labeled_patients: int | None = None,
    seed: int | None = None,
    iterations: int | None = None,
    max_time: float | None = None,
    start_from: str | Path | None = None,
    settings: Settings | None = None,
    plan: str | Path | None = None,
    runs: str | Path = "runs",
    run: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listeners: Sequence[Listener] = (),
) -> CrossValidation:
    """Train every fold in turn, and score each labeled case by the fold that has not seen it.

    The folds are those of the split file, or five of the labeled cases, patient by patient. Voxels, patch and
    network are the same for all; a held-out case is not looked at before the weights of its fold are chosen.

    The keywords are those of :func:`semiseg.train`, counted for each fold: ``labeled`` of each, ``max_time``
    and ``iterations`` of each. The whole lies beside its folds, in ``…_folds-N_seed-S`` below ``runs``, or in
    ``run``, whose folds are then ``fold-N`` in it. ``resume`` leaves finished folds, resumes an interrupted
    one and starts the others.

    Raises:
        Interrupted: stopped by Ctrl-C or SIGTERM; the fold at hand is saved, and ``resume`` goes on.
        UsageError: too few labeled cases or patients, folders that are not free, settings that do not fit.
        DataError: a dataset that cannot be used as it is.
        DeviceError: no such device, or out of its memory.
    """
    config = of_keywords(locals())
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    config = with_network(config, Plan.load(Path(plan)).network.name if plan else NetworkPlan().name)
    require_names(config, opened)
    select_device(device)
    folds = _folds(opened, config)
    folder = Path(run) if run is not None else Path(runs) / opened.name / cross_validation_name(folds[0])
    places = [
        RunFolder(folder / f"fold-{number}", opened.name, one, exact=True)
        if run is not None
        else RunFolder(Path(runs), opened.name, one, exact=False)
        for number, one in enumerate(folds)
    ]
    with held(folder, "--runs or --run"):
        _make_room(folder, places, resume=resume, overwrite=overwrite)
        if isinstance(folds[0].data.folds, int):  # only now, when nothing can be wrong any more
            opened = keep_folds(opened, folds[0].data.folds)
        where = Where(device, 1, cores() if workers is None else workers, tuple(listeners))
        going_on = {"resume": resume, "overwrite": overwrite}

        def train_fold(one: Config, place: Path) -> Run:
            return train_once(opened, one, where, place, plan, exact=True, **going_on)

        return _together(folder, train_folds(folds, [place.path for place in places], train_fold))


def train_folds(
    folds: Sequence[Config], places: Sequence[Path], train: Callable[[Config, Path], Run]
) -> list[Run]:
    """Train every fold in turn into its place.

    Raises:
        Interrupted: asked to stop, which the fold at hand has done.
    """
    trained: list[Run] = []
    with StopRequest() as stop:
        for number, (one, place) in enumerate(zip(folds, places, strict=True)):
            if stop.raised:
                raise _stopped(number, len(folds), f"{plural(number, 'fold is', 'folds are')} finished")
            log.info("fold %d (of 0 to %d): %s", number, len(folds) - 1, place)
            try:
                trained.append(train(one, place))
            except Interrupted as error:
                raise _stopped(number, len(folds), error.message) from None
    return trained


def calibrate(run: Run, dataset: Dataset, where: Where) -> Path:
    """Cross-validate a finished run's labels and write its ``calibration.json``; what is there is used.

    Returns:
        The file. A run with a validation list of :data:`FEWEST` scans has it already, and nothing is trained.

    Raises:
        UsageError: fewer than two labeled cases or patients.
        Interrupted: asked to stop; the same training with ``resume`` continues.
    """
    target = run.folder / FILE
    there = Calibration.load(target)
    if there is not None and there.usable:
        log.info("%s is calibrated already (%s)", run.folder, there.source)
        return target
    folded, count = _with_folds_of_labels(dataset, run.split["labeled"], run.split["unlabeled"])
    folds = [_of_labels(run.config, number, count) for number in range(count)]
    places = [run.folder / "calibration" / f"fold-{number}" for number in range(count)]

    def train_fold(one: Config, place: Path) -> Run:
        return train_once(folded, one, where, place, run.folder / "plan.json", exact=True, resume=True)

    known: list[Known] = []
    options: dict[str, object] = {}
    for made in train_folds(folds, places, train_fold):
        part = Calibration.load(made.folder / FILE)
        if part is not None:
            known += part.known
            options = dict(part.options)
    labels = len(run.split["labeled"])
    Calibration(known, f"{plural(count, 'fold')} of {plural(labels, 'label')}", options).save(target)
    if len(known) < FEWEST:
        log.warning("too few labels to calibrate by: %d, and %d are needed", len(known), FEWEST)
    return target


def tell_cost(dataset: Dataset, config: Config) -> None:
    """Say before a training what its calibration adds, and refuse labels that cannot be split into folds."""
    split = split_dataset(dataset, config)
    if len(split.val) >= FEWEST:
        return
    labeled, unlabeled = ([case.id for case in cases] for cases in (split.labeled, split.unlabeled))
    _, count = _with_folds_of_labels(dataset, labeled, unlabeled)
    further = plural(count, "further training")
    log.info("--calibrate: %s, as long as this one, on folds of the labels", further)


def _with_folds_of_labels(
    dataset: Dataset, labeled: Sequence[str], unlabeled: Sequence[str]
) -> tuple[Dataset, int]:
    """The dataset with the cases of one run alone and folds of its labels, and how many folds."""
    lists = Fold(tuple(labeled), tuple(unlabeled))
    rule = dataset.splits.patients if dataset.splits else None
    file = SplitFile("folds of the labels", (lists,), (), rule)
    ids = CaseIds(tuple(labeled), tuple(unlabeled))
    file = with_folds(file, ids, count_folds(file, ids))
    folds = tuple(
        fold if fold.unlabeled is not None else replace(fold, unlabeled=lists.unlabeled)
        for fold in file.cross_validation
    )
    return replace(dataset, splits=replace(file, cross_validation=folds), split_faults=()), len(folds)


def _of_labels(config: Config, fold: int, count: int) -> Config:
    """The same training on a fold of the labels, from weights that have not seen those that it holds out."""
    kept = config.data.model_dump(include={"accepted", "memory_gb"})
    data = DataConfig(fold=fold, folds=count, **kept)
    update = {"data": data, "select": "last", "plan": PlanConfig()}  # the plan is the run's
    return config.changed("start", file=None).model_copy(update=update)


def _folds(dataset: Dataset, config: Config) -> list[Config]:
    """The configuration of each fold.

    Raises:
        UsageError: the labeled cases are too few, or the split file has a single fold.
    """
    if config.data.folds is None:
        config = config.changed("data", folds="auto")
    config = with_fold_count(dataset, config)
    published = len(dataset.splits.folds) if dataset.splits else 1
    count = published if config.data.folds is None else int(config.data.folds)
    if count < 2:
        raise UsageError(
            "the split file has one fold: there is nothing to train in turn",
            hint="train without --fold; or `semiseg split DATASET --overwrite` makes folds",
            code="FOLD",
        )
    return [config.changed("data", fold=number) for number in range(count)]


def _make_room(folder: Path, places: Sequence[RunFolder], *, resume: bool, overwrite: bool) -> None:
    """See that every fold can be trained, before the first one is.

    Raises:
        UsageError: a folder that is not free.
    """
    others = {place.path.name for place in places} if places[0].path.parent == folder else set()
    there = {entry.name for entry in contents(folder)} - others
    if there - set(WRITTEN) or (there and not (resume or overwrite)):
        raise not_empty(folder, "--run FOLDER", ours=there <= set(WRITTEN), kind="a cross-validation")
    for place in places:
        if not (resume and place.stored_run() is not None):
            place.require_free(overwrite=overwrite, resume=resume)
    for name in WRITTEN:
        (folder / name).unlink(missing_ok=True)


def _stopped(number: int, count: int, what: str) -> Interrupted:
    return Interrupted(
        f"fold {number} of {count}: {what}",
        hint="the same command with --resume continues from there; finished folds are left as they are",
    )


def _together(folder: Path, runs: Sequence[Run]) -> CrossValidation:
    """Put the scores of the folds together, and name the members of the ensemble."""
    scores = [run.score for run in runs]
    where = {score.folder for score in scores if score is not None}
    if len(where) == 1 and where <= {"held_out", "validation"}:
        source = where.pop()
        found = joined([read_evaluation(run.folder / source) for run in runs])
        write(found, folder)
        score = of_evaluation(found, _words(found, runs, source), ".")
        made = CrossValidation(folder, tuple(runs), score, found)
    else:
        reason = "not every fold has held-out or validation cases with a label"
        score = Score(reason=reason, commands=("semiseg split DATASET --overwrite, then train --fold all",))
        made = CrossValidation(folder, tuple(runs), score)
    write_json(folder / ENSEMBLE, made.as_dict())
    return made


def _words(found: Evaluation, runs: Sequence[Run], source: str) -> str:
    dice = [run.score.dice for run in runs if run.score and run.score.dice is not None]
    spread = f", folds {statistics.mean(dice):.3f} ± {statistics.stdev(dice):.3f}" if len(dice) > 1 else ""
    chose = source == "validation" and any(run.manifest["selection"] == "best-val" for run in runs)
    unseen = "the fold that has not seen it"
    how = f"{unseen}, though it chose that fold's weights" if chose else unseen
    return f"{plural(len(found.cases), 'labeled case')}, each scored by {how}{spread}"
