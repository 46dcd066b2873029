"""A tuning from its outline to its files."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semiseg.dataset.dataset import Dataset
from semiseg.errors import Interrupted, plural
from semiseg.machine.claim import contents, held
from semiseg.preparation.prepare import prepare
from semiseg.runs.folder import not_empty, remove, run_name
from semiseg.settings.config import Config
from semiseg.settings.flags import Settings, of_keywords
from semiseg.tuning.outline import Outline, fold_config, outline
from semiseg.tuning.study import JOURNAL, Study, require_optuna
from semiseg.tuning.trial import Bench, TrialJob, TrialRecord
from semiseg.tuning.trial_workers import train_all
from semiseg.tuning.verdict import Tuned, judge
from semiseg.tuning.write import in_a_line, plan_words

log = logging.getLogger("semiseg.tune")

TRIALS = 30
WRITTEN = (
    *("trials", "trials.csv", "trials.svg", "best.yaml", "summary.json", "plan.json", "study.lock"),
    JOURNAL,
)
"""What a tuning leaves in its folder: --overwrite deletes these and nothing else."""


def folder_of(planned: Outline, runs: Path) -> Path:
    """Where a tuning goes when no folder is given."""
    config = planned.wanted
    variant = "tune-" + config.method.name.replace(":", "-")
    return runs / planned.dataset.name / run_name(config, variant=variant)


def tune(
    dataset: str | Path | Dataset,
    config: Config | str | Path | None = None,
    *,
    method: str | None = None,
    recipe: str | None = None,
    labeled: int | None = None,
    labeled_patients: int | None = None,
    fold: int | None = None,
    seed: int | None = None,
    trials: int = TRIALS,
    minutes: float | None = None,
    iterations: int | None = None,
    folds: int | None = None,
    metric: str = "Dice",
    space: Mapping[str, Any] | Iterable[str] = (),
    only: Sequence[str] = (),
    settings: Settings | None = None,
    plan: str | Path | None = None,
    runs: str | Path = "runs",
    output: str | Path | None = None,
    device: str = "auto",
    workers: int = 1,
    prune: bool = True,
    force: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Tuned:
    """Search a method's hyperparameters on folds of the labeled cases, and write a config file.

    Labels of unlabeled and test cases are never opened. Where the best trial's lead is within the noise
    between the folds, the settings stay as they are.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or an opened dataset.
        config: a YAML file with settings; or a whole configuration, beside which no other setting is taken.
        method: the training method, see ``semiseg methods``.
        recipe: settings by name, or a YAML file of that shape.
        labeled: how many labeled cases to use; None is all.
        labeled_patients: the same number counted in patients.
        fold: the fold of the dataset's split file, counted from 0.
        seed: the seed of the trainings and of the search.
        trials: how many settings to try, the start among them and those of earlier sessions too.
        minutes: after this many minutes no further trial is started.
        iterations: the length of each training in optimizer steps; None is that of the final training.
        folds: how many folds of the labeled cases; None is 4, or as many as there are cases.
        metric: what trials are ranked by: ``Dice``, ``HD95``, ..., or of one class, ``Dice/CLASS``.
        space: what to search, ``{"weight": "0.1:10:log"}`` or ``["weight=0.1:10:log"]``.
        only: names to search; all others keep their values.
        settings: other settings, ``{"optimizer.lr": 1e-3}`` or ``["optimizer.lr=1e-3"]``.
        plan: a ``plan.json`` to use instead of making a plan.
        runs: the folder above the tuning folders.
        output: exactly this tuning folder, instead of one under ``runs``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        workers: trials at a time. More than one are processes, whose order, and with it the sampler's draws,
            depends on how fast they are.
        prune: stop trials early that fall behind.
        force: choose the best trial even where its lead is within the noise.
        resume: resume an earlier search; start one where there is none.
        overwrite: replace an earlier tuning.

    Returns:
        The trials and the choice; ``tuned.best_file`` is for ``train(config=...)``.

    Raises:
        Interrupted: stopped by Ctrl-C or SIGTERM; ``resume`` continues from there.
        UsageError: Optuna is missing, the folder is not free, or it was begun on other terms.
        SemisegError: the start itself cannot be trained.
    """
    config = of_keywords(locals(), iterations=None)  # those are of a trial
    require_optuna()
    planned = outline(
        dataset if isinstance(dataset, Dataset) else Dataset.open(dataset),
        config,
        space=[f"{name}={text}" for name, text in space.items()] if isinstance(space, Mapping) else [*space],
        only=only,
        metric=metric,
        iterations=iterations,
        folds=folds,
        plan=plan,
        device=device,
    )
    folder = folder_of(planned, Path(runs)) if output is None else Path(output)
    with held(folder, "-o"):
        _make_room(folder, resume=resume, overwrite=overwrite)
        study = _open(planned, folder, prune=prune)
        for line in plan_words(planned, trials):
            log.info(line)
        bench = Bench(
            planned.dataset, folder / "plan.json", planned.folds, planned.metric, prune, planned.device
        )
        until = None if minutes is None else time.monotonic() + 60 * minutes
        next_job = functools.partial(_next_job, study, planned, folder, trials, until)
        tell = functools.partial(_tell, study, planned, trials)
        try:
            train_all(study, bench, next_job, tell, workers=workers)
        except (Interrupted, KeyboardInterrupt):
            _finish(planned, folder, study, force=force)
            raise Interrupted(
                f"stopped after {_done(study)} of {plural(trials, 'trial')}; everything is saved in {folder}",
                hint="the same command with --resume continues from there",
            ) from None
        return _finish(planned, folder, study, force=force)


def _open(planned: Outline, folder: Path, *, prune: bool) -> Study:
    """The study of this tuning, once the cases are in the store, so that no worker has to prepare them."""
    prepared = prepare(
        planned.dataset,
        fold_config(planned.search.config, 0),
        device=planned.device.partition(":")[0],
        workers=0,
        plan=planned.plan,
    )
    study = Study(
        folder,
        planned.search,
        {**planned.terms, "data": prepared.data_hash(), "prune": prune},
        seed=planned.search.config.train.seed,
        higher_is_better=planned.metric.higher_is_better,
        warm_up=planned.iterations // 3,
    )
    planned.plan.save(folder / "plan.json")
    return study


def _next_job(
    study: Study, planned: Outline, folder: Path, trials: int, until: float | None
) -> tuple[TrialRecord, TrialJob] | None:
    if until is not None and time.monotonic() > until:
        return None
    entry = study.next(trials)
    if entry is None:
        return None
    config = planned.search.config_of(entry.values)
    return entry, TrialJob(config, folder / "trials" / f"{entry.home:04d}")


def _tell(study: Study, planned: Outline, trials: int, entry: TrialRecord) -> None:
    log.info("%d of %d: %s", _done(study), trials, in_a_line(entry, str(planned.metric)))


def _done(study: Study) -> int:
    return sum(entry.state in ("done", "pruned", "failed") for entry in study.entries())


def _finish(planned: Outline, folder: Path, study: Study, *, force: bool) -> Tuned:
    from semiseg.tuning.write import draw, write

    entries = study.entries()
    verdict = judge(
        entries,
        str(planned.metric),
        higher_is_better=planned.metric.higher_is_better,
        deviations=planned.search.deviations,
        force=force,
    )
    values: dict[str, Any] = dict(verdict.chosen.values) if verdict.chosen else {}
    fixed = planned.search.config_of(values)
    config = fixed.changed("train", iterations=planned.wanted.train.iterations)
    tuned = Tuned(folder, planned, entries, verdict, study.importance(), config)
    write(tuned)
    draw(tuned, folder / "trials.svg")
    return tuned


def _make_room(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """See to an empty folder, or one to go on with (UsageError: something else is in it)."""
    there = {entry.name for entry in contents(folder)}
    is_tuning = JOURNAL in there or there <= {"plan.json"}
    if there and not (is_tuning and (resume or overwrite)):
        raise not_empty(folder, "-o FOLDER", ours=is_tuning, kind="a tuning")
    if overwrite:
        remove(folder, WRITTEN, "-o")
