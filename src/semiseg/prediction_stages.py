"""Scans on their way through three stages: read and prepare, forward passes, finish and write.

While the network works on one scan, a thread prepares the next and another writes the one before. At most
``ahead`` prepared scans wait, and one result is being written, so that memory does not grow with the number
of scans.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from semiseg.prediction_job import Job, Ready, Task
from semiseg.prediction_record import CaseResult

Done = Callable[[Task, CaseResult], None]
"""Told once for each scan, in order, from the thread that called :func:`run_all`."""


def run_all(job: Job, tasks: Sequence[Task], ahead: int, done: Done) -> None:
    """Predict scans. What goes wrong with one of them is in its result and stops no other.

    After an interrupt the result that is being written is finished, and told like the others.

    Args:
        job: the model and its options.
        tasks: scans and where their results go.
        ahead: scans prepared in advance; 0 does everything in this thread.
        done: told of every result.

    Raises:
        DeviceError: the device cannot do it, so that the next scan would fail alike.
    """
    if ahead < 1:
        for task in tasks:
            done(task, job.finish(task, job.infer(task, partial(job.prepare, task))))
        return
    with ThreadPoolExecutor(1, thread_name_prefix="write") as pool:
        writing = _Writing(done)
        try:
            for task, ready in _prepared(job, tasks, ahead):
                writing.collect(wait_for=0)
                inferred = job.infer(task, ready)
                writing.collect(wait_for=1)
                writing.add(task, pool.submit(job.finish, task, inferred))
            writing.collect(wait_for=1)
        finally:
            writing.settle()


class _Writing:
    """The results that are being finished and written: none or one."""

    def __init__(self, done: Done) -> None:
        self._done = done
        self._waiting: deque[tuple[Task, Future[CaseResult]]] = deque()

    def add(self, task: Task, future: Future[CaseResult]) -> None:
        self._waiting.append((task, future))

    def collect(self, wait_for: int) -> None:
        """Tell of results that are there, and of ``wait_for`` that may still have to come."""
        while self._waiting and (wait_for > 0 or self._waiting[0][1].done()):
            task, future = self._waiting[0]
            wait([future])  # an interrupt here leaves it in the row
            self._waiting.popleft()
            wait_for -= 1
            self._done(task, future.result())

    def settle(self) -> None:
        """After an error elsewhere: let what has begun be whole, and tell of it."""
        for task, future in self._waiting:
            if future.exception() is None:
                self._done(task, future.result())
        self._waiting.clear()


def _prepared(job: Job, tasks: Sequence[Task], ahead: int) -> Iterator[tuple[Task, Callable[[], Ready]]]:
    """Each task with a call that gives its input (or raises), once; the next ones are being prepared."""
    waiting: deque[tuple[Task, list[Future[Ready]]]] = deque()
    rest = iter(tasks)
    with ThreadPoolExecutor(ahead, thread_name_prefix="read") as pool:
        try:
            while True:
                while len(waiting) <= ahead and (task := next(rest, None)) is not None:
                    waiting.append((task, [pool.submit(job.prepare, task)]))
                if not waiting:
                    return
                task, held = waiting.popleft()
                yield task, partial(_taken, held)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _taken(held: list[Future[Ready]]) -> Ready:
    """Whoever takes it is the only one to hold it."""
    return held.pop().result()
