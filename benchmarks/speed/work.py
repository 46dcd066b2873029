"""What a process of the benchmark does: time both sides of a case, or measure the memory of one."""

from __future__ import annotations

import gc
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks.speed import clock, items, limits
from benchmarks.speed.setting import Case, Setting

MALLOC = ("default", "tuned")


@dataclass(frozen=True)
class Job:
    """A case, and how to run it; passed to a fresh process."""

    case: str
    device: str
    quick: bool
    data: Path | None
    work: Path
    threads: int
    malloc: str
    repeats: int | None

    def start(self) -> tuple[Case, torch.device]:
        """Set the process up and find the case."""
        from semiseg.machine.hardware import keep_freed_memory

        torch.set_num_threads(self.threads)
        if self.malloc == "tuned":
            keep_freed_memory()
        device = torch.device(self.device)
        (case,) = items.find([self.case], Setting(device, self.quick, self.data, self.work))
        return case, device


def time_both(job: Job) -> dict[str, Any]:
    """Both sides in alternation in this process, and what the machine can do at most."""
    case, device = job.start()
    agreed = case.agree() if case.agree and job.malloc == "default" else None
    sides = {"plain": case.plain(), "ours": case.ours()}
    units, unit = case.per
    repeats = job.repeats or case.repeats
    times = clock.alternate(sides, repeats, case.warm, device, units)
    row: dict[str, Any] = {
        "case": case.name,
        "title": case.title,
        "per": unit,
        "malloc": job.malloc,
        "threads": job.threads,
        "agreement": agreed,
        "target": case.target,
        "seconds": times,
        "ratio": {kind: clock.ratio(times, kind) for kind in ("cpu", "wall")},
    }
    if case.flops is not None:
        row["flops"] = case.flops / units
        row["limits"] = limits.measured(device, quick=job.quick)
        row["of_limit"] = {
            side: _share(case.flops / units, times[side][limits.counted(device)], row["limits"])
            for side in times
        }
    return row


def _share(flops: float, seconds: list[float], limit: dict[str, float]) -> dict[str, float]:
    """The fraction of each matrix-product rate that the fastest call reached."""
    rate, before = flops / min(seconds), "gemm_"
    return {name.removeprefix(before): rate / most for name, most in limit.items() if name.startswith(before)}


def memory_of(job: Job, side: str) -> dict[str, float]:
    """Peak memory of two calls of one side in this process: above what the imports take, in MB."""
    case, device = job.start()
    import semiseg.training.session  # noqa: F401

    gc.collect()
    base = resident_mb()
    call = (case.plain if side == "plain" else case.ours)()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    call()
    call()
    found = {"rss": peak_mb() - base}
    if device.type == "cuda":
        found["device"] = torch.cuda.max_memory_allocated(device) / 2**20
    return found


def resident_mb() -> float:
    """MB of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def peak_mb() -> float:
    """MB of this process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
