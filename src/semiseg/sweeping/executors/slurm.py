"""Workers as jobs of SLURM, by way of submitit; its ``local`` cluster runs the same jobs on this machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from semiseg.errors import UsageError, missing_extra
from semiseg.machine.worker import WorkerEnd, WorkerJob, run_here

SECONDS_BETWEEN_LOOKS = 2.0
DEFAULTS = {"cpus_per_task": 4, "mem_gb": 16, "timeout_min": 24 * 60, "name": "semiseg"}
MANY = 1000
"""Jobs that are handed to the scheduler at a time."""


class Slurm:
    """A job per cell. A job that SLURM ends is a cell that died: it is tried again from its checkpoint.

    Jobs outlive the driver. A second driver finds their cells claimed and waits for them.

    Args:
        workers: jobs at a time; None leaves it to the scheduler.
        devices: auto or cuda asks for a GPU per job, cpu for none.
        options: parameters of submitit, such as ``slurm_partition``, ``mem_gb`` and ``timeout_min``; and
            ``cluster``: ``slurm`` or ``local``.

    Raises:
        UsageError: submitit is missing, or a parameter that it does not have.
    """

    def __init__(self, *, workers: int | None, devices: str, options: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError:
            raise missing_extra("slurm", "submitit", "--on slurm") from None
        given = {**DEFAULTS, **({} if devices == "cpu" else {"gpus_per_node": 1}), **options}
        self._cluster = given.pop("cluster", None)
        self._make = partial(submitit.AutoExecutor, cluster=self._cluster)
        self._parameters = given
        self._device = "cpu" if devices == "cpu" else "auto"
        self._executor: Any = None
        self._jobs: dict[str, Any] = {}
        self.slots = workers or MANY
        self.threads = int(given["cpus_per_task"])
        self.where = f"SLURM ({self._cluster or 'slurm'})"

    def submit(self, job: WorkerJob) -> None:
        """Hand a job to the scheduler (UsageError: a parameter that submitit does not have)."""
        self._jobs[job.name] = self._ready(job).submit(run_here, job, self._device)

    def ended(self, seconds: float) -> list[WorkerEnd]:
        """The jobs that have ended since; wait so long for one."""
        until = time.monotonic() + seconds
        while not (over := [cell for cell, job in self._jobs.items() if job.done()]):
            if time.monotonic() >= until:
                return []
            time.sleep(min(SECONDS_BETWEEN_LOOKS, max(until - time.monotonic(), 0.01)))
        return [WorkerEnd(cell, _how(self._jobs.pop(cell))) for cell in over]

    def stop(self) -> None:
        """Cancel all jobs, which makes them save, and wait until they have ended."""
        for job in self._jobs.values():
            job.cancel()
        for job in self._jobs.values():
            with contextlib.suppress(Exception):
                job.wait()
        self._jobs.clear()

    def kill(self) -> None:
        """Cancel all jobs and wait for none."""
        for job in self._jobs.values():
            job.cancel()
        self._jobs.clear()

    def _ready(self, job: WorkerJob) -> Any:
        if self._executor is None:
            try:
                self._executor = self._make(folder=job.folder.parent / "slurm")
                self._executor.update_parameters(**self._parameters)
            except (NameError, ValueError, TypeError, RuntimeError) as error:
                raise UsageError(
                    f"--on slurm: {' '.join(str(error).split())}",
                    hint="parameters are those of submitit; `cluster=local` runs the jobs on this machine",
                    code="SLURM",
                ) from None
        return self._executor


def _how(job: Any) -> str:
    """How a job ended, in words."""
    error = job.exception()
    if error is None:
        return str(job.result())
    lines = [line for line in str(error).splitlines() if line.strip()]
    why = lines[-1].strip() if lines else type(error).__name__
    return f"was job {job.job_id}, {str(job.state).lower()}: {why}"
