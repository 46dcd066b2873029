"""Workers on this machine: a process per device, or several that share the cores of the CPU."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable

from semiseg.errors import Interrupted, UsageError
from semiseg.machine.hardware import cores, free_memory_gb
from semiseg.sweeping.executors.process import CellJob, Worker, WorkerEnd

CORES, GB = 4, 4.0
"""What a worker on the CPU gets at least where there is more than one."""


class Local:
    """A process per cell."""

    def __init__(self, *, workers: int | None = None, devices: str = "auto") -> None:
        names = devices_here(devices)
        count = workers or (_cpu_workers() if names == ["cpu"] else len(names))
        self._free = deque(names[i % len(names)] for i in range(count))
        self._running: dict[str, tuple[Worker, str]] = {}
        self.slots = count
        self.where = f"{count} worker{'s' * (count > 1)} on {', '.join(names)}"
        self.threads = threads_each(count)

    def submit(self, job: CellJob) -> None:
        """Start a worker on a free device."""
        device = self._free.popleft()
        self._running[job.cell] = (Worker(job, device), device)

    def ended(self, seconds: float) -> list[WorkerEnd]:
        """The workers that have ended since; wait so long for one."""
        until = time.monotonic() + seconds
        while not (over := [cell for cell, (worker, _) in self._running.items() if worker.ended]):
            if time.monotonic() >= until:
                return []
            time.sleep(0.05)
        return [self._collect(cell) for cell in over]

    def stop(self) -> None:
        """Ask all workers to save and end, and wait until they have."""
        for worker, _ in self._running.values():
            worker.stop()
        for cell in list(self._running):
            self._collect(cell)

    def kill(self) -> None:
        """End all workers at once."""
        for worker, _ in self._running.values():
            worker.kill()

    def _collect(self, cell: str) -> WorkerEnd:
        worker, device = self._running[cell]
        how = worker.wait()
        del self._running[cell]
        self._free.append(device)
        return WorkerEnd(cell, how)


class Here:
    """Cells in this very process, one by one."""

    def __init__(self, work: Callable[[CellJob, str], None], devices: str = "auto") -> None:
        self._work = work
        self._device = devices_here(devices)[0]
        self._waiting: deque[CellJob] = deque()
        self.slots = 1
        self.where = f"this process on {self._device}"
        self.threads = 0

    def submit(self, job: CellJob) -> None:
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
            over.append(WorkerEnd(job.cell, "ended"))
        return over

    def stop(self) -> None:
        """Forget what has not begun."""
        self._waiting.clear()

    def kill(self) -> None:
        """Forget what has not begun."""
        self._waiting.clear()


def devices_here(wanted: str) -> list[str]:
    """The devices of this machine that a name or a list means; ``auto`` and ``cuda`` mean every GPU.

    Raises:
        UsageError: not the name of a device.
        DeviceError: a device that this machine does not have.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if names == ["cpu"]:  # needs no torch
        return names
    if not names:
        raise UsageError("--devices names none", hint="use auto, cpu, cuda, or a list such as cuda:0,cuda:1")
    import torch

    from semiseg.machine.hardware import select_device

    found: list[str] = []
    for name in names:
        device = select_device(f"cuda:{name}" if name.isdigit() else name)
        every = device.type == "cuda" and name in ("auto", "cuda")
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())] if every else [str(device)]
    return list(dict.fromkeys(found))


def threads_each(workers: int) -> int:
    """Threads for each worker: what ``OMP_NUM_THREADS`` says, else an equal share of the cores."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) > 0 else max(cores() // workers, 1)


def _cpu_workers() -> int:
    """A training needs some cores to be fast, and some memory."""
    memory = free_memory_gb()
    by_memory = cores() if memory is None else int(memory // GB)
    return max(min(cores() // CORES, by_memory), 1)
