"""Python processes of our own: started, watched and asked to stop in one way, here and on other machines.

A worker is ``python -m MODULE FOLDER NAME`` for the job that ``FOLDER/NAME.json`` describes; what it prints
goes to ``FOLDER/NAME.log``. It saves and ends on SIGTERM and when its standard input is closed, which also
happens when the process that started it dies. What came of it is on disk, so a lost message loses nothing.

Imports nothing heavy: a worker says that it listens before it imports torch.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from semiseg.errors import Interrupted, SemisegError, UsageError
from semiseg.machine.stopping import stop_politely

CORES, GB = 4, 4.0
"""What a worker on the CPU gets at least where there is more than one."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def start(
    command: Sequence[str], log: Path, *, stdout: Path | None = None, tied: bool = False
) -> subprocess.Popen[bytes]:
    """Start ``python COMMAND`` in a session of its own, so that Ctrl-C at the terminal does not reach it.

    Args:
        command: words after the interpreter, such as ``-m semiseg train …``.
        log: what it prints is added here.
        stdout: a file for its standard output alone.
        tied: it gets a pipe as its input, which ends when this process does, and finds the modules that this
            one does; otherwise it lives on.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    more = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} if tied else {}
    with log.open("ab") as errors, (stdout or log).open("ab" if stdout is None else "wb") as output:
        return subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env={**os.environ, **more, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )


@dataclass(frozen=True)
class WorkerJob:
    """What a worker does: the job ``name`` of a folder, by the module that knows how."""

    module: str
    folder: Path
    name: str
    threads: int = 0
    """To compute with; 0 leaves it to torch."""

    @property
    def file(self) -> Path:
        """What is to be done."""
        return self.folder / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What the worker prints."""
        return self.folder / f"{self.name}.log"


@dataclass(frozen=True)
class WorkerEnd:
    """A worker that is over."""

    name: str
    """Of the job."""
    how: str
    """In words, for when the job says that it is not done."""
    code: int = 0
    """The exit status; negative is the signal that killed it."""


class Worker:
    """A running worker."""

    def __init__(self, job: WorkerJob, device: str) -> None:
        command = ["-m", job.module, str(job.folder), job.name]
        self.job, self.device = job, device
        self.process = start(
            [*command, "--device", device, "--threads", str(job.threads)], job.log, tied=True
        )

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

    def wait(self) -> WorkerEnd:
        """Wait for the end, and say how it came."""
        code = self.process.wait()
        self.stop()
        return WorkerEnd(self.job.name, how_it_ended(code, _last_line(self.job.log)), code)


def run_here(job: WorkerJob, device: str) -> str:
    """Run a worker to its end and say how it ended; what stops this stops the worker, politely."""
    deadline = time.monotonic() + 60.0  # a new entry takes a while to show on a network file system
    while not job.file.is_file() and time.monotonic() < deadline:
        time.sleep(1.0)
    worker = Worker(job, device)
    try:
        while not worker.ended:  # Ray interrupts a task between two steps of Python, never inside a wait
            time.sleep(0.2)
        return worker.wait().how
    except BaseException:
        worker.stop()
        worker.wait()
        raise


class LocalWorkers:
    """Workers on this machine: a process per job, on a device each, or several that share the CPU's cores."""

    def __init__(self, *, workers: int | None = None, devices: str = "auto") -> None:
        names = devices_here(devices)
        count = workers or (_cpu_workers() if names == ["cpu"] else len(names))
        self._free = deque(names[i % len(names)] for i in range(count))
        self.running: dict[str, Worker] = {}
        self.slots = count
        self.where = f"{count} worker{'s' * (count > 1)} on {', '.join(names)}"
        self.threads = threads_each(count)

    def submit(self, job: WorkerJob) -> None:
        """Start a worker on a free device."""
        self.running[job.name] = Worker(job, self._free.popleft())

    def ended(self, seconds: float) -> list[WorkerEnd]:
        """The workers that have ended since; wait so long for one."""
        until = time.monotonic() + seconds
        while not (over := [name for name, worker in self.running.items() if worker.ended]):
            if time.monotonic() >= until:
                return []
            time.sleep(0.05)
        return [self._collect(name) for name in over]

    def stop(self) -> None:
        """Ask all workers to save and end, and wait until they have."""
        for worker in self.running.values():
            worker.stop()
        for name in list(self.running):
            self._collect(name)

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self.running.values():
            worker.kill()

    def _collect(self, name: str) -> WorkerEnd:
        worker = self.running[name]
        end = worker.wait()
        self._free.append(self.running.pop(name).device)
        return end


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
    from semiseg.machine.hardware import cores

    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) > 0 else max(cores() // workers, 1)


def _cpu_workers() -> int:
    """A training needs some cores to be fast, and some memory."""
    from semiseg.machine.hardware import cores, free_memory_gb

    memory = free_memory_gb()
    by_memory = cores() if memory is None else int(memory // GB)
    return max(min(cores() // CORES, by_memory), 1)


def how_it_ended(code: int | None, last: str = "") -> str:
    """An exit status in words, such as ``was killed by SIGKILL``; ``last`` is what was printed last."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        likely = ", most often because memory ran out" if name == "SIGKILL" else ""
        return f"was killed by {name}{likely}"
    return f"ended with exit code {code}" + (f": {last}" if last else "")


def _last_line(log: Path, size: int = 4096) -> str:
    try:
        with log.open("rb") as stream:
            stream.seek(max(log.stat().st_size - size, 0))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


Work = Callable[[Path, str, str, int], None]
"""``work(folder, name, device, threads)`` does a job; 0 threads leaves their number to torch."""


def serve(work: Work, arguments: list[str] | None = None) -> int:
    """The main program of a worker's module; its exit status."""
    parser = argparse.ArgumentParser(description="Do one job; a worker that semiseg starts.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        stop_politely()
        if given.threads:
            _use_threads(given.threads)
        work(given.folder, given.name, given.device, given.threads)
    except KeyboardInterrupt:
        return Interrupted.exit_code
    except SemisegError as error:
        sys.stderr.write(f"error: {error.message}\nhint: {error.hint}\n")
        return error.exit_code
    return 0


def _use_threads(count: int) -> None:
    """Compute with so many threads, here and in processes that this one starts."""
    os.environ.update(dict.fromkeys(THREADS, str(count)))
    import torch

    torch.set_num_threads(count)


def birth(pid: int) -> str | None:
    """A word that no other process of this number has; None where there is no such process or no such word.

    Reads ``/proc`` (Linux); elsewhere a process is told by its number alone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else f"{_boot()}-{fields[19]}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def alive(pid: int, born: str | None) -> bool:
    """Whether the process of :func:`birth` ``born`` still runs."""
    if born is not None:
        return birth(pid) == born
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OSError):
        return False
    return True


def ask_to_end(pid: int, born: str | None) -> None:
    """Ask a process to save and end, as ``kill`` does."""
    if alive(pid, born):
        os.kill(pid, signal.SIGTERM)
