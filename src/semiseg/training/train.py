"""``semiseg train``: a training, and what it is trained beside."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiseg.dataset.dataset import Dataset
from semiseg.errors import UsageError, plural
from semiseg.machine.files import write_json
from semiseg.machine.hardware import cores
from semiseg.runs.console import at_a_prompt
from semiseg.runs.events import Listener
from semiseg.runs.run import Run
from semiseg.settings.config import Config
from semiseg.settings.flags import Settings, of_keywords
from semiseg.training.cross_validation import calibrate as calibrate_run
from semiseg.training.cross_validation import tell_cost
from semiseg.training.single import Where, train_once
from semiseg.training.validation import mean_dice_of_cases

log = logging.getLogger("semiseg.train")


def train(
    dataset: str | Path | Dataset,
    config: Config | str | Path | None = None,
    *,
    method: str | None = None,
    network: str | None = None,
    recipe: str | None = None,
    labeled: int | None = None,
    labeled_patients: int | None = None,
    fold: int | None = None,
    seed: int | None = None,
    iterations: int | None = None,
    max_time: float | None = None,
    start_from: str | Path | None = None,
    twin: bool = False,
    settings: Settings | None = None,
    plan: str | Path | None = None,
    runs: str | Path = "runs",
    run: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    calibrate: bool = False,
    listeners: Sequence[Listener] | None = None,
    dry_run: bool = False,
) -> Run:
    """Train a model on a few labeled and many unlabeled scans, and write its run folder.

    Labels of unlabeled and test cases are never opened.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or an opened dataset.
        config: a YAML file with settings; or a whole configuration, beside which no other setting is taken.
        method: the training method, one of ``semiseg methods`` or ``package.module:Class``; None is that of
            the recipe.
        network: one of ``semiseg networks``, ``monai:Class`` or ``package.module:Class``; None is the one
            that the plan sized.
        recipe: settings by name, see ``semiseg recipes``, or a YAML file of that shape.
        labeled: how many labeled cases to use, at least 1; the others become unlabeled. None is all.
        labeled_patients: the same number counted in patients.
        fold: one of the folds of the dataset's split file, counted from 0; where that has none, of five that
            are made of the labeled cases, patient by patient, and kept in it. None trains on all labeled
            cases (or on the first fold that a split file lists). :func:`semiseg.cross_validate` trains every
            fold.
        seed: random seed, 0 or more; the same seed gives the same batches.
        iterations: length of the training in optimizer steps; None is chosen for ``max_time``, or for the
            device where there is none.
        max_time: minutes after which the training saves its state and ends. Without ``iterations`` it is also
            planned for this time: some iterations are timed, and length, learning rate and ramps follow. A
            resumed run keeps the length that it began with.
        start_from: fine-tuning: the first weights are those of a run, a ``model.zip``, a results folder of
            nnU-Net or a checkpoint, as far as they fit (by name, shape, channel and class); what does not is
            told. The learning rate is lower and grows slowly (``start.lr``, ``start.warmup``). A resumed run
            needs the file no more.
        twin: also train the same from random weights, and tell what ``start_from`` gained on the validation
            list; the twin lies where it would lie by itself, and one that is finished is not trained again.
        settings: other settings, ``{"optimizer.lr": 1e-3}`` or ``["optimizer.lr=1e-3"]``.
        plan: a ``plan.json`` to use instead of making a plan.
        runs: the folder above the run folders, ``DATASET/METHOD__NETWORK__RECIPE/labeled-K_fold-F_seed-S``.
        run: exactly this run folder, instead of one under ``runs``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        devices: how many processes train together, one per GPU; under torchrun its own number counts.
        workers: processes that prepare the scans; None is the number of cores, 0 is this process.
        resume: resume an interrupted run; start one where there is none.
        overwrite: replace an earlier run in the same folder.
        calibrate: also train on folds of the labels, so that predictions come with an expected Dice; a
            validation list of four scans makes that needless.
        listeners: functions that are called with every event (:mod:`semiseg.runs.events`), such as
            ``semiseg.runs.console.Console()``, which is the only one at a prompt or in a notebook if None;
            elsewhere there is none.
        dry_run: prepare everything and do one iteration, but write no run folder.

    Returns:
        The run, whose final model is written.

    Raises:
        Interrupted: stopped by Ctrl-C or SIGTERM; the state is saved, and ``resume`` continues from there.
        UsageError: unknown names, settings that do not fit, a run folder that is not free.
        DataError: a dataset that cannot be used as it is.
        DeviceError: no such device, or out of its memory.
    """
    config = of_keywords(locals())
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    listeners = at_a_prompt() if listeners is None else listeners
    where = Where(device, devices, cores() if workers is None else workers, tuple(listeners))
    if twin and not config.start.file:
        raise UsageError(
            "a twin is trained beside a run that starts from a file",
            hint="add --start-from FILE",
            code="TWIN",
        )
    if calibrate and not dry_run:
        tell_cost(opened, config)
    going_on = {"resume": resume, "overwrite": overwrite, "dry_run": dry_run}
    exact = run is not None
    made = train_once(opened, config, where, Path(run or runs), plan, exact=exact, **going_on)
    if twin and not dry_run:
        beside = Path(runs) if run is None else Path(run).with_name(f"{Path(run).name}-scratch")
        same, by = made.config.changed("start", file=None), made.folder / "plan.json"
        note_twin(made, train_once(opened, same, where, beside, by, exact=exact, resume=True))
    if calibrate and not dry_run:
        calibrate_run(made, opened, where)
    return made


def note_twin(trained: Run, scratch: Run) -> None:
    """Write into the manifest, and tell, what starting from a file gained in validation Dice.

    The twin has the same seed, cases, length and plan, the usual learning rate and random first weights. One
    pair of runs is one draw: differences below the spread over seeds say nothing.
    """
    found = gain(trained, scratch)
    write_json(trained.folder / "manifest.json", {**trained.manifest, "twin": found})
    if found["gain"] is None:
        log.warning(
            "no validation list: what the file gained is not known; evaluate both runs (%s)", scratch.folder
        )
        return
    spread = "" if found["standard_error"] is None else f", SE {found['standard_error']:.3f}"
    text = "starting from a file: validation Dice %.3f, from scratch %.3f: %+.3f (%s%s, one seed)"
    scores = (found[key] for key in ("dice", "dice_from_scratch", "gain"))
    log.info(text, *scores, plural(found["cases"], "case"), spread)


def gain(trained: Run, scratch: Run) -> dict[str, Any]:
    """Mean Dice of both, their difference, and the standard error of the difference over cases."""
    ours, theirs = (mean_dice_of_cases(run.folder / "validation") for run in (trained, scratch))
    both = sorted(set(ours) & set(theirs))
    found = dict.fromkeys(("dice", "dice_from_scratch", "gain", "standard_error"))
    about: dict[str, Any] = {"run": scratch.folder.name, "cases": len(both), **found}
    if both:
        differences = [ours[case] - theirs[case] for case in both]
        about |= {
            "dice": statistics.fmean(ours[case] for case in both),
            "dice_from_scratch": statistics.fmean(theirs[case] for case in both),
            "gain": statistics.fmean(differences),
        }
        if len(both) > 1:
            about["standard_error"] = statistics.stdev(differences) / math.sqrt(len(both))
    return about
