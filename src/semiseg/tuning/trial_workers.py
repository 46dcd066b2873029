"""Trains the trials of a search: one after another in this process, or several at a time in workers.

A worker knows nothing of the study: it trains the folds of the trial that ``trials/0007.json`` describes. The
one process that writes the study follows the scores in the run folders, and stops what falls behind.
"""

from __future__ import annotations

import functools
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from semiseg.errors import Interrupted, SemisegError, as_semiseg_error
from semiseg.machine.files import read_json, write_json
from semiseg.machine.stopping import StopRequest
from semiseg.machine.worker import LocalWorkers, WorkerEnd, WorkerJob, serve
from semiseg.settings.resolve import validate
from semiseg.tuning.study import Study
from semiseg.tuning.trial import (
    Bench,
    Pruned,
    Reports,
    Scored,
    TrialJob,
    TrialRecord,
    run_trial,
    scored,
    slim,
)

NextJob = Callable[[], tuple[TrialRecord, TrialJob] | None]
Tell = Callable[[TrialRecord], None]

ASKED = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
"""What ends a process on request. A scheduler sends it to all of a job's processes at once, and a worker that
cannot save yet ends by it before its leader has noticed: the trial is not to blame."""
SECONDS = 0.1
"""Between looks at the scores."""


class DiedError(Exception):
    """The process of a trial is gone."""


def train_all(study: Study, bench: Bench, next_job: NextJob, tell: Tell, *, workers: int) -> None:
    """Train until there is no next trial.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the trainings at hand are saved and their trials put back in line.
        SemisegError: the start cannot be trained, and so nothing can.
    """
    with StopRequest() as stop:

        def next_unless_stopped() -> tuple[TrialRecord, TrialJob] | None:
            return None if stop.raised else next_job()

        if workers == 1:
            while (next_one := next_unless_stopped()) is not None:
                entry, job = next_one
                report = functools.partial(study.report, entry.number)
                _settle(study, entry, functools.partial(run_trial, bench, job, report), tell)
        else:
            places = LocalWorkers(workers=workers, devices=bench.device)
            Together(study, bench, places, tell).run(next_unless_stopped, stop)
    if stop.raised:
        raise Interrupted("interrupted")


def _settle(study: Study, entry: TrialRecord, outcome: Callable[[], Scored], tell: Tell) -> None:
    """Write into the study what came of a trial: what ``outcome`` returns or raises."""
    number = entry.number
    try:
        study.finish(number, outcome())
    except Pruned:
        study.prune(number)
    except DiedError as error:
        study.die(number, str(error))
    except (Interrupted, KeyboardInterrupt):
        study.die(number, "interrupted", counts=False)
        raise
    except Exception as error:  # one bad setting does not end the search
        study.fail(number, as_semiseg_error(error).message)
        if entry.start:
            raise
    tell(study.entry(number))


@dataclass
class Running:
    """A trial in its worker."""

    entry: TrialRecord
    job: TrialJob
    reports: Reports
    pruned: bool = False

    def outcome(self, end: WorkerEnd, bench: Bench, *, killed: bool = False) -> Scored:
        """What the trial came to: its scores, or the error that says how it ended.

        :class:`Pruned` by its leader (the weights are gone then), Interrupted with the training saved, a
        SemisegError of the setting, or :class:`DiedError`.
        """
        if end.code == 0:
            self.follow()
        if self.pruned:
            for fold in range(bench.folds):
                slim(self.job.fold(fold))
            raise Pruned
        if end.code == 0:
            return scored(bench, self.job)
        if killed or end.code == Interrupted.exit_code or -end.code in ASKED:
            raise Interrupted("interrupted")
        error = read_json(worker_job(self.job.folder).file).get("error")
        if error and end.code > 0:
            raise SemisegError(error["message"], hint=error["hint"], code=error["code"])
        raise DiedError(f"its process {end.how}")

    def follow(self) -> None:
        """Hand on the scores that have come since."""
        try:
            self.reports.new()
        except Pruned:
            self.pruned = True
        except SemisegError:  # a score that is none: the worker says so in a moment
            return


class Together:
    """Several trials at a time."""

    def __init__(self, study: Study, bench: Bench, workers: LocalWorkers, tell: Tell) -> None:
        self.study, self.bench, self.workers, self.tell = study, bench, workers, tell
        self.running: dict[str, Running] = {}
        self._killed = False

    def run(self, next_job: NextJob, stop: StopRequest) -> None:
        """Train until there is no next trial, or until somebody says stop.

        Raises:
            Interrupted: the workers were stopped from outside.
            SemisegError: the start cannot be trained.
        """
        errors: list[Exception] = []
        try:
            while not errors and not stop.raised and self._fill(next_job):
                errors += self._collect()
                self._follow()
        except KeyboardInterrupt:
            self._kill()
        finally:
            errors += self._end()
        for error in sorted(errors, key=lambda error: isinstance(error, Interrupted)):
            raise error

    def _fill(self, next_job: NextJob) -> bool:
        """Start trials in the free places; whether any is trained."""
        while len(self.running) < self.workers.slots and (next_one := next_job()) is not None:
            entry, job = next_one
            work = job_file(self.bench, job, self.workers.threads)
            reports = Reports(self.bench, job, functools.partial(self.study.report, entry.number))
            self.running[work.name] = Running(entry, job, reports)
            self.workers.submit(work)
        return bool(self.running)

    def _follow(self) -> None:
        """Hand on the scores of all trials, and stop those that fall behind."""
        for name, trial in self.running.items():
            trial.follow()
            if trial.pruned:
                self.workers.running[name].stop()

    def _collect(self) -> list[Exception]:
        """Write down what came of the workers that have ended; what should end the search."""
        errors: list[Exception] = []
        for end in self.workers.ended(SECONDS):
            trial = self.running.pop(end.name)
            outcome = functools.partial(trial.outcome, end, self.bench, killed=self._killed)
            try:
                _settle(self.study, trial.entry, outcome, self.tell)
            except Exception as error:
                errors.append(error)
        return errors

    def _end(self) -> list[Exception]:
        """Let workers save, or, at a second Ctrl-C, end them at once."""
        errors: list[Exception] = []
        for worker in self.workers.running.values():
            worker.stop()
        while self.running:
            try:
                errors += self._collect()
            except KeyboardInterrupt:
                self._kill()
        return errors

    def _kill(self) -> None:
        self._killed = True
        self.workers.kill()


def job_file(bench: Bench, job: TrialJob, threads: int = 0) -> WorkerJob:
    """Write what a worker has to know of a trial."""
    made = worker_job(job.folder, threads)
    write_json(made.file, {**bench.as_dict(), "config": job.config.model_dump(mode="json")})
    return made


def worker_job(folder: Path, threads: int = 0) -> WorkerJob:
    """What the worker of a trial does, whose runs lie in ``folder``."""
    return WorkerJob("semiseg.tuning.trial_workers", folder.parent.absolute(), folder.name, threads)


def work(trials: Path, name: str, device: str = "auto", threads: int = 0) -> None:
    """Train what is left of a trial, in a process of its own; an error is written into its file.

    Raises:
        Interrupted: stopped; the training at hand is saved.
        SemisegError: this setting cannot be trained.
    """
    file = worker_job(trials / name).file
    content = read_json(file)
    job = TrialJob(validate(content["config"]), trials / name)
    try:
        run_trial(Bench.of(content, device), job, lambda place, score: False)
    except (Interrupted, KeyboardInterrupt):
        raise
    except Exception as error:
        known = as_semiseg_error(error)
        log = logging.getLogger("semiseg.tune")
        log.error("%s failed: %s", name, known.message, exc_info=known is not error)
        write_json(file, {**content, "error": known.as_dict()})
        raise known from error


if __name__ == "__main__":
    sys.exit(serve(work))
