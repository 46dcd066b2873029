"""Where workers run. An executor starts them, says when one has ended, and stops them; nothing more.

What became of a cell is in the ledger, so an executor carries no results, and a lost message loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from semiseg.errors import UsageError, unknown_name
from semiseg.sweeping.process import Job

__all__ = ["Ended", "Executor", "Job", "make_executor"]

KINDS = ("local", "ray", "ray://HOST:PORT", "slurm")


@dataclass(frozen=True)
class Ended:
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

    def submit(self, job: Job) -> None:
        """Start a worker, or queue it; called for at most ``slots`` cells at a time."""

    def ended(self, seconds: float) -> list[Ended]:
        """The workers that have ended since; wait so long for one."""

    def stop(self) -> None:
        """Ask all workers to save and end, wait until they have, and let go of everything."""

    def kill(self) -> None:
        """End all workers at once."""


def make_executor(
    on: str = "local",
    *,
    workers: int | None = None,
    devices: str = "auto",
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Executor:
    """The executor of a name.

    Args:
        on: ``local``, ``ray`` (the cluster of this machine, or a new one), ``ray://HOST:PORT`` or ``slurm``.
        workers: cells at a time; None for what suits the place; 0 runs them in this process, one by one.
        devices: ``auto``, ``cpu``, ``cuda``, ``mps``, or a list such as ``cuda:0,cuda:1``.
        options: of the place, ``{"slurm": {...}, "ray": {...}}``.

    Raises:
        UsageError: no such place, devices that it cannot have, or an extra that is not installed.
    """
    options = options or {}
    kind = on.partition(":")[0]
    if kind == "ray" and on in ("ray", f"ray://{on.removeprefix('ray://')}"):
        from semiseg.sweeping.executors.ray import Ray

        return Ray(on, workers=workers, devices=devices, options=options.get("ray", {}))
    if on == "slurm":
        from semiseg.sweeping.executors.slurm import Slurm

        return Slurm(workers=workers, devices=devices, options=options.get("slurm", {}))
    if on != "local":
        raise unknown_name("place", on, KINDS)
    from semiseg.sweeping.executors.local import Here, Local

    return Here(devices) if workers == 0 else Local(workers=workers, devices=devices)


def missing_extra(extra: str, package: str) -> UsageError:
    """The error for an executor whose package is not installed."""
    return UsageError(
        f"--on {extra} needs the package {package}, which is not installed",
        hint=f"python -m pip install 'semiseg[{extra}]'",
        code="MISSING_EXTRA",
    )


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
