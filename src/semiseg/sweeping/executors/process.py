"""A worker as a process of its own, the same wherever it runs: here, on a Ray node or on a SLURM node."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from semiseg.errors import UsageError
from semiseg.machine.stopping import how_it_ended, start


@dataclass(frozen=True)
class CellJob:
    """A cell to be worked at."""

    folder: Path
    """Of the sweep."""
    cell: str
    """Its id."""
    threads: int
    """To compute with."""


class Worker:
    """A running worker; what it prints goes to ``cells/ID.log``."""

    def __init__(self, job: CellJob, device: str) -> None:
        self.log = job.folder / "cells" / f"{job.cell}.log"
        command = ["-m", "semiseg.sweeping.worker", str(job.folder), job.cell]
        command += ["--device", device, "--threads", str(job.threads), "--watch"]
        self.process = start(command, self.log, tied=True)

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.process.poll() is not None

    def stop(self) -> None:
        """Ask it to save and end."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def wait(self) -> str:
        """Wait for the end, and say how it came."""
        code = self.process.wait()
        self.stop()
        return how_it_ended(code, next(iter(reversed(_last_lines(self.log))), ""))


def run_here(job: CellJob, device: str) -> str:
    """Run a worker to its end and say how it ended; what stops this stops the worker, politely."""
    deadline = time.monotonic() + 60.0  # a new entry takes a while to show on a network file system
    while not (job.folder / "cells" / f"{job.cell}.json").is_file() and time.monotonic() < deadline:
        time.sleep(1.0)
    worker = Worker(job, device)
    try:
        while not worker.ended:  # Ray interrupts a task between two steps of Python, never inside a wait
            time.sleep(0.2)
        return worker.wait()
    except BaseException:
        worker.stop()
        worker.wait()
        raise


def _last_lines(log: Path, size: int = 4096) -> list[str]:
    try:
        with log.open("rb") as stream:
            stream.seek(max(log.stat().st_size - size, 0))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


@dataclass(frozen=True)
class WorkerEnd:
    """A worker that is over."""

    cell: str
    how: str
    """In words, for when the ledger says that it died."""


class Executor(Protocol):
    """A place for workers."""

    where: str
    """In words, such as ``2 workers on cpu``."""
    slots: int
    """How many cells it works at together."""
    threads: int
    """What a worker computes with; 0 leaves it to torch."""

    def submit(self, job: CellJob) -> None:
        """Start a worker, or queue it; called for at most ``slots`` cells at a time."""

    def ended(self, seconds: float) -> list[WorkerEnd]:
        """The workers that have ended since; wait so long for one."""

    def stop(self) -> None:
        """Ask all workers to save and end, wait until they have, and let go of everything."""

    def kill(self) -> None:
        """End all workers at once."""


def one_kind(devices: str) -> str:
    """``--devices`` where the place gives out the devices itself.

    Raises:
        UsageError: numbered devices.
    """
    if devices not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"--devices {devices}: here the cluster gives out the devices",
            hint="use auto, cpu or cuda",
            code="UNKNOWN_DEVICE",
        )
    return devices
