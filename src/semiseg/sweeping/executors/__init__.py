"""Where workers run. An executor starts them, says when one has ended, and stops them; nothing more.

What became of a cell is in the ledger, so an executor carries no results, and a lost message loses nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from semiseg.errors import Interrupted, UsageError, unknown_name
from semiseg.machine.worker import LocalWorkers, WorkerEnd, WorkerJob, devices_here


class Executor(Protocol):
    """A place for workers."""

    where: str
    """In words, such as ``2 workers on cpu``."""
    slots: int
    """How many cells it works at together."""
    threads: int
    """What a worker computes with; 0 leaves it to torch."""

    def submit(self, job: WorkerJob) -> None:
        """Start a worker, or queue it; called for at most ``slots`` cells at a time."""

    def ended(self, seconds: float) -> list[WorkerEnd]:
        """The workers that have ended since; wait so long for one."""

    def stop(self) -> None:
        """Ask all workers to save and end, wait until they have, and let go of everything."""

    def kill(self) -> None:
        """End all workers at once."""


class Here:
    """Cells in this very process, one by one."""

    def __init__(self, work: Callable[[WorkerJob, str], None], devices: str = "auto") -> None:
        self._work = work
        self._device = devices_here(devices)[0]
        self._waiting: deque[WorkerJob] = deque()
        self.slots = 1
        self.where = f"this process on {self._device}"
        self.threads = 0

    def submit(self, job: WorkerJob) -> None:
        """Keep it for :meth:`ended`."""
        self._waiting.append(job)

    def ended(self, seconds: float) -> list[WorkerEnd]:
        """Run what was submitted.

        Raises:
            KeyboardInterrupt: the cell was interrupted.
        """
        over = []
        while self._waiting:
            job = self._waiting.popleft()
            try:
                self._work(job, self._device)
            except Interrupted:
                raise KeyboardInterrupt from None
            over.append(WorkerEnd(job.name, "ended"))
        return over

    def stop(self) -> None:
        """Forget what has not begun."""
        self._waiting.clear()

    def kill(self) -> None:
        """Forget what has not begun."""
        self._waiting.clear()


def _one_kind(devices: str) -> str:
    """``--devices`` where the place gives out the devices itself (UsageError: numbered ones)."""
    if devices not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"--devices {devices}: here the cluster gives out the devices",
            hint="use auto, cpu or cuda",
            code="UNKNOWN_DEVICE",
        )
    return devices


KINDS = ("local", "ray", "ray://HOST:PORT", "slurm")


def make_executor(
    on: str = "local",
    *,
    work: Callable[[WorkerJob, str], None],
    workers: int | None = None,
    devices: str = "auto",
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Executor:
    """The executor of a name.

    Raises:
        UsageError: no such place, devices that it cannot have, or an extra that is not installed.
    """
    options = options or {}
    kind = on.partition(":")[0]
    if kind == "ray" and on in ("ray", f"ray://{on.removeprefix('ray://')}"):
        from semiseg.sweeping.executors.ray import Ray

        return Ray(on, workers=workers, devices=_one_kind(devices), options=options.get("ray", {}))
    if on == "slurm":
        from semiseg.sweeping.executors.slurm import Slurm

        return Slurm(workers=workers, devices=_one_kind(devices), options=options.get("slurm", {}))
    if on != "local":
        raise unknown_name("place", on, KINDS)
    return Here(work, devices) if workers == 0 else LocalWorkers(workers=workers, devices=devices)
