"""Time of one call: wall and CPU seconds, the device waited for."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from benchmarks.speed.setting import Call

Times = dict[str, list[float]]


def timed(call: Call, device: torch.device) -> tuple[float, float]:
    """Wall and CPU seconds. On CUDA the wall time is between two events on the stream."""
    if device.type != "cuda":
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        return time.perf_counter() - wall, time.process_time() - cpu
    before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    cpu = time.process_time()
    before.record()
    call()
    after.record()
    torch.cuda.synchronize(device)
    return before.elapsed_time(after) / 1000, time.process_time() - cpu


def alternate(
    sides: dict[str, Call], repeats: int, warm: int, device: torch.device, units: int = 1
) -> dict[str, Times]:
    """Seconds per unit of each side, one call of one after one call of the other."""
    times: dict[str, Times] = {name: {"wall": [], "cpu": []} for name in sides}
    for k in range(warm + repeats):
        for name, call in sides.items():
            wall, cpu = timed(call, device)
            if k >= warm:
                times[name]["wall"].append(wall / units)
                times[name]["cpu"].append(cpu / units)
    return times


def ratio(times: dict[str, Times], kind: str) -> dict[str, float]:
    """Plain over ours: of the medians, and the range over the pairs of neighboring calls."""
    plain, ours = times["plain"][kind], times["ours"][kind]
    pairs = [a / b for a, b in zip(plain, ours, strict=True)]
    return {
        "median": statistics.median(plain) / statistics.median(ours),
        "lowest": min(pairs),
        "highest": max(pairs),
    }


def summary(values: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
