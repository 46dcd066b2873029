"""Workers as tasks of Ray, on this machine or on a cluster whose nodes see the sweep folder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from semiseg.errors import SemisegError, UsageError, missing_extra
from semiseg.machine.worker import CORES, WorkerEnd, WorkerJob, run_here


class Ray:
    """A task per cell, each of which starts a worker process on its node.

    Args:
        address: ``ray`` for the cluster that this machine belongs to (``RAY_ADDRESS``, or one here),
            or else a new one on this machine alone; ``ray://HOST:PORT`` for a client of a distant one.
        workers: tasks at a time; None for as many as the cluster has room for.
        devices: auto or cuda gives each task a GPU where the cluster has any, cpu none.
        options: of the tasks, such as ``num_cpus``, ``memory`` or ``resources``.

    Raises:
        UsageError: ray is missing, or the cluster cannot be reached.
    """

    def __init__(
        self, address: str, *, workers: int | None, devices: str, options: Mapping[str, Any]
    ) -> None:
        try:
            import ray
        except ImportError:
            raise missing_extra("ray", "Ray", f"--on {address}") from None
        self._ray: Any = ray
        self._connect(address)
        room = ray.cluster_resources()
        gpus = 0 if devices == "cpu" else int(room.get("GPU", 0))
        if devices == "cuda" and not gpus:
            raise UsageError("--devices cuda: the Ray cluster has no GPU", hint="use --devices cpu")
        cpus = int(options.get("num_cpus", min(CORES, max(int(room.get("CPU", 1)), 1))))
        self.threads = max(cpus, 1)
        self._device = "auto" if gpus else "cpu"
        self._task = ray.remote(run_here).options(
            **{"num_cpus": cpus, "num_gpus": 1 if gpus else 0, "max_retries": 0, **options}
        )
        fits = gpus or max(int(room.get("CPU", 1)) // self.threads, 1)
        self.slots = workers or fits
        self._tasks: dict[Any, str] = {}
        self.where = f"Ray with {len([n for n in ray.nodes() if n['Alive']])} nodes"

    def _connect(self, address: str) -> None:
        # Ray warns and reports to its makers unless it is told not to.
        import os

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        known = {"address": address} if address != "ray" else {}
        try:
            self._mine = not self._ray.is_initialized()
            if self._mine:
                self._ray.init(
                    **known, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False
                )
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise UsageError(
                f"--on {address}: no Ray cluster there: {str(error).strip().splitlines()[0]}",
                hint="start one with `ray start --head`, and set RAY_ADDRESS or give ray://HOST:10001",
                code="NO_CLUSTER",
            ) from None

    def submit(self, job: WorkerJob) -> None:
        """Queue a task."""
        self._tasks[self._task.remote(job, self._device)] = job.name

    def ended(self, seconds: float) -> list[WorkerEnd]:
        """The tasks that have ended since; wait so long for one."""
        over, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
        return [WorkerEnd(self._tasks.pop(task), self._how(task)) for task in over]

    def stop(self) -> None:
        """Interrupt all tasks, which makes their workers save, and wait until they have ended."""
        for task in self._tasks:
            self._ray.cancel(task, force=False)
        for task in self._tasks:
            self._how(task)
        self._tasks.clear()
        self._disconnect()

    def kill(self) -> None:
        """End all tasks at once; their workers save and end when they notice."""
        for task in self._tasks:
            self._ray.cancel(task, force=True)
        self._tasks.clear()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._mine:
            with contextlib.suppress(SemisegError, ConnectionError):
                self._ray.shutdown()

    def _how(self, task: Any) -> str:
        try:
            return str(self._ray.get(task))
        except Exception as error:  # a node or a worker of Ray that is gone, a cancelled task
            lines = str(error).strip().splitlines()
            return f"{type(error).__name__}: {lines[0] if lines else ''}"
