"""Trains the trials of a search: one after another in this process, or in several processes at a time.

A worker process knows nothing of the study. It gets a trial, sends its scores on the way and is told whether
to go on; the one process that writes the study does the rest.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any

import torch

from semiseg.errors import Interrupted, SemisegError, unforeseen
from semiseg.machine.stopping import StopRequest, how_it_ended
from semiseg.tuning.study import Study
from semiseg.tuning.trial import Bench, Pruned, Report, Scored, TrialJob, TrialRecord, run_trial

Player = Callable[[TrialJob, Report], Scored]
NextJob = Callable[[], tuple[TrialRecord, TrialJob] | None]
Tell = Callable[[TrialRecord], None]


ASKED = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
"""What ends a process on request. A scheduler sends it to all of a job's processes at once, and a worker that
cannot save yet ends by it before its leader has noticed: the trial is not to blame."""


class DiedError(Exception):
    """The process of a trial is gone."""


def work(study: Study, bench: Bench, next_job: NextJob, tell: Tell, *, workers: int, threads: int) -> None:
    """Train until there is no next trial.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the trainings at hand are saved and their trials put back in line.
        SemisegError: the start cannot be trained, and so nothing can.
    """
    stop = StopRequest()

    def next_unless_stopped() -> tuple[TrialRecord, TrialJob] | None:
        return None if stop.raised else next_job()

    with stop:
        if workers == 1:
            _keep_going(study, functools.partial(run_trial, bench), next_unless_stopped, tell)
        else:
            processes = [_Worker(bench, device, threads) for device in devices(bench.device, workers)]
            _work_together(processes, study, next_unless_stopped, tell, stop)
    if stop.raised:
        raise Interrupted("interrupted")


def _work_together(
    processes: list[_Worker], study: Study, next_job: NextJob, tell: Tell, stop: StopRequest
) -> None:
    with ThreadPoolExecutor(len(processes)) as pool:
        going = [pool.submit(_keep_going, study, worker, next_job, tell) for worker in processes]
        try:
            while wait(going, timeout=0.1).not_done:
                failed = any(one.done() and one.exception() for one in going)
                if stop.raised or failed:
                    stop.raised = True
                    for worker in processes:
                        worker.ask_to_stop()
        finally:
            for worker in processes:
                worker.close()
    errors = [error for one in going if (error := one.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, Interrupted)):
        raise error


def devices(device: str, workers: int) -> list[str]:
    """One device per worker: GPUs in turn, where there are several and none was named."""
    if device != "cuda" or torch.cuda.device_count() < 2:
        return [device] * workers
    return [f"cuda:{number % torch.cuda.device_count()}" for number in range(workers)]


def _keep_going(study: Study, player: Player, next_job: NextJob, tell: Tell) -> None:
    while (next_one := next_job()) is not None:
        entry, job = next_one
        number = entry.number
        try:
            study.finish(number, player(job, functools.partial(study.report, number)))
        except Pruned:
            study.prune(number)
        except DiedError as error:
            study.die(number, str(error))
        except (Interrupted, KeyboardInterrupt):
            study.die(number, "interrupted", counts=False)
            raise
        except Exception as error:  # one bad setting does not end the search
            study.fail(number, (error if isinstance(error, SemisegError) else unforeseen(error)).message)
            if entry.start:
                raise
        tell(study.entry(number))


class _Worker:
    """A process that trains; a :data:`Player`. It is started with the first trial, and anew when it died."""

    def __init__(self, bench: Bench, device: str, threads: int) -> None:
        self.arguments = (bench, device, threads)
        self.process: Any = None
        self.pipe: Connection | None = None
        self.stopping = False

    def __call__(self, job: TrialJob, report: Report) -> Scored:
        pipe = self._start() if self.process is None or not self.process.is_alive() else self.pipe
        try:
            if pipe is None:
                raise EOFError
            pipe.send(job)
            while True:
                kind, content = pipe.recv()
                if kind == "report":
                    pipe.send(report(*content))
                elif kind == "done":
                    return Scored(*content)
                else:
                    raise content
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.process.join()
            if self.stopping or -(self.process.exitcode or 0) in ASKED:
                raise Interrupted("interrupted") from None
            raise DiedError(f"its process {how_it_ended(self.process.exitcode)}") from None

    def ask_to_stop(self) -> None:
        """Save the training at hand and end."""
        if not self.stopping and self.process is not None and self.process.is_alive():
            self.process.terminate()
        self.stopping = True

    def close(self) -> None:
        """Nothing more will come."""
        if self.pipe is not None:
            self.pipe.close()
        if self.process is not None:
            self.process.join()

    def _start(self) -> Connection:
        if self.pipe is not None:
            self.pipe.close()
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, *self.arguments), daemon=True)
        self.process.start()
        theirs.close()
        return self.pipe


def _serve(pipe: Connection, bench: Bench, device: str, threads: int) -> None:
    """The worker process: train what comes until nothing comes any more."""
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)  # both are for the one that leads; it sends SIGTERM
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)
    bench = bench.on(device)

    def report(place: int, score: float) -> bool:
        pipe.send(("report", (place, score)))
        return bool(pipe.recv())

    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            scored = run_trial(bench, job, report)
            pipe.send(("done", (scored.folds, scored.deviations)))
        except (SemisegError, Pruned) as error:
            pipe.send(("failed", error))
            if isinstance(error, Interrupted):
                return
        except Exception as error:
            pipe.send(("failed", unforeseen(error)))


def _end_with_parent() -> None:
    """A worker whose leader was killed would train for nobody."""
    leader = multiprocessing.parent_process()
    if leader is not None:
        wait_for([leader.sentinel])
        os._exit(1)
