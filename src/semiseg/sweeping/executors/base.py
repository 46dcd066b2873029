"""Moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from semiseg.errors import UsageError
from semiseg.sweeping.executors.process import CellJob


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
