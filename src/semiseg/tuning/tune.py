"""A tuning from its outline to its files."""

from __future__ import annotations

import functools
import logging
import shutil
import time
from pathlib import Path
from typing import Any

from semiseg.errors import Interrupted, UsageError
from semiseg.machine.files import contents, held
from semiseg.machine.hardware import cores
from semiseg.preparation.prepare import prepare
from semiseg.runs.folder import run_name
from semiseg.settings import environment
from semiseg.tuning.book import JOURNAL, Book, require_optuna
from semiseg.tuning.crew import work
from semiseg.tuning.entry import Entry
from semiseg.tuning.outline import Outline, fold_config
from semiseg.tuning.trial import Bench, Job
from semiseg.tuning.verdict import Tuned, judge
from semiseg.tuning.write import in_a_line, plan_words

log = logging.getLogger("semiseg.tune")

TRIALS = 30
WRITTEN = (
    "trials",
    "trials.csv",
    "trials.svg",
    "best.yaml",
    "summary.json",
    "plan.json",
    "study.lock",
    JOURNAL,
)
"""What a tuning leaves in its folder: --overwrite deletes these and nothing else."""


def folder_of(outline: Outline, runs: Path) -> Path:
    """Where a tuning goes when no folder is given."""
    config = outline.wanted
    variant = "tune-" + config.method.name.replace(":", "-")
    return runs / outline.dataset.name / run_name(config, variant=variant)


def tune(
    outline: Outline,
    folder: Path,
    *,
    trials: int = TRIALS,
    minutes: float | None = None,
    workers: int = 1,
    prune: bool = True,
    force: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Tuned:
    """Train trials until there are enough, and write what they say.

    Args:
        outline: see :func:`semiseg.tuning.outline.outline`.
        folder: of the tuning.
        trials: in all, that of the start among them and those of earlier sessions too.
        minutes: after which no further trial is begun.
        workers: trials at a time; more than one are processes, whose order, and with it the sampler's
            draws, depends on how fast they are.
        prune: stop trials early that fall behind.
        force: choose the best trial even where its lead is within noise.
        resume: go on with what is in ``folder``; begin where there is nothing.
        overwrite: replace an earlier tuning.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; ``resume`` goes on from there.
        UsageError: Optuna is missing, the folder is not free, or it was begun on other terms.
        SemisegError: the start itself cannot be trained.
    """
    require_optuna()
    with held(folder, "-o"):
        _make_room(folder, resume=resume, overwrite=overwrite)
        book = _open(outline, folder, prune=prune)
        for line in plan_words(outline, trials):
            log.info(line)
        bench = Bench(
            outline.dataset, folder / "plan.json", outline.folds, outline.metric, prune, outline.device
        )
        until = None if minutes is None else time.monotonic() + 60 * minutes
        next_job = functools.partial(_next_job, book, outline, folder, trials, until)
        tell = functools.partial(_tell, book, outline, trials)
        threads = max(cores() // workers, 1)
        try:
            work(book, bench, next_job, tell, workers=workers, threads=threads)
        except (Interrupted, KeyboardInterrupt):
            done = sum(entry.state in ("done", "pruned", "failed") for entry in book.entries())
            _finish(outline, folder, book, force=force)
            raise Interrupted(
                f"stopped after {done} of {trials} trials; everything is saved in {folder}",
                hint="the same command with --resume goes on from there",
            ) from None
        return _finish(outline, folder, book, force=force)


def _open(outline: Outline, folder: Path, *, prune: bool) -> Book:
    """The book of this tuning, once the cases are in the store, so that no worker has to prepare them."""
    prepared = prepare(
        outline.dataset,
        fold_config(outline.search.config, 0),
        environment.read().cache,
        device=outline.device.partition(":")[0],
        workers=0,
        plan=outline.plan,
    )
    book = Book(
        folder,
        outline.search,
        {**outline.terms, "data": prepared.data_hash(), "prune": prune},
        seed=outline.search.config.train.seed,
        higher_is_better=outline.metric.higher_is_better,
        warm_up=outline.iterations // 3,
    )
    outline.plan.save(folder / "plan.json")
    return book


def _next_job(
    book: Book, outline: Outline, folder: Path, trials: int, until: float | None
) -> tuple[Entry, Job] | None:
    if until is not None and time.monotonic() > until:
        return None
    entry = book.next(trials)
    if entry is None:
        return None
    config = outline.search.config_of(entry.values)
    return entry, Job(entry.number, config, folder / "trials" / f"{entry.home:04d}")


def _tell(book: Book, outline: Outline, trials: int, entry: Entry) -> None:
    done = sum(other.state in ("done", "pruned", "failed") for other in book.entries())
    log.info("%d of %d: %s", done, trials, in_a_line(entry, str(outline.metric)))


def _finish(outline: Outline, folder: Path, book: Book, *, force: bool) -> Tuned:
    from semiseg.tuning.write import draw, write

    entries = book.entries()
    verdict = judge(
        entries,
        str(outline.metric),
        higher_is_better=outline.metric.higher_is_better,
        deviations=outline.search.deviations,
        force=force,
    )
    values: dict[str, Any] = dict(verdict.chosen.values) if verdict.chosen else {}
    fixed = outline.search.config_of(values)
    iterations = {"iterations": outline.wanted.train.iterations}
    config = fixed.model_copy(update={"train": fixed.train.model_copy(update=iterations)})
    tuned = Tuned(folder, outline, entries, verdict, book.importance(), config)
    write(tuned)
    draw(tuned, folder / "trials.svg")
    return tuned


def _make_room(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """An empty folder, or one to go on with.

    Raises:
        UsageError: there is something else, or nobody said what to do with it.
    """
    there = {entry.name for entry in contents(folder)}
    is_tuning = JOURNAL in there or there <= {"plan.json"}
    if there and not (is_tuning and (resume or overwrite)):
        raise UsageError(
            f"{folder} is not empty",
            hint="--resume goes on, --overwrite begins anew, -o FOLDER goes elsewhere"
            if is_tuning
            else "it does not look like a tuning: give another folder",
            code="RUN_EXISTS",
        )
    if overwrite:
        for entry in (folder / name for name in WRITTEN):
            if entry.is_symlink() or not entry.is_dir():
                entry.unlink(missing_ok=True)
            else:
                shutil.rmtree(entry)
