"""Where workers run. An executor starts them, says when one has ended, and stops them; nothing more.

What became of a cell is in the ledger, so an executor carries no results, and a lost message loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from semiseg.errors import unknown_name
from semiseg.machine.worker import LocalWorkers, WorkerJob
from semiseg.sweeping.executors.place import Executor, Here

__all__ = ["Executor", "make_executor"]

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

        return Ray(on, workers=workers, devices=devices, options=options.get("ray", {}))
    if on == "slurm":
        from semiseg.sweeping.executors.slurm import Slurm

        return Slurm(workers=workers, devices=devices, options=options.get("slurm", {}))
    if on != "local":
        raise unknown_name("place", on, KINDS)
    return Here(work, devices) if workers == 0 else LocalWorkers(workers=workers, devices=devices)
