"""Cores, memory and instruction sets of this machine, without a dependency. None where it cannot be told."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

BF16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Instruction sets with which bf16 is fast on a CPU."""
_FLAGS = ("avx2", "avx512f", *BF16_FLAGS)
_CGROUP = Path("/sys/fs/cgroup")


def cpu() -> dict[str, Any]:
    """Name, usable cores, and the instruction sets that matter to us."""
    flags = cpu_flags()
    return {
        "name": _cpu_name(),
        "cores": cores(),
        "flags": None if flags is None else [flag for flag in _FLAGS if flag in flags],
        "bf16": None if flags is None else any(flag in flags for flag in BF16_FLAGS),
    }


def cores() -> int:
    """Cores that this process may use, which in a container or a job is less than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_flags() -> frozenset[str] | None:
    """The flags line of ``/proc/cpuinfo``."""
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return None


def total_memory_gb() -> float | None:
    """Memory of the machine, or of the container when that is less."""
    return _least(_meminfo("MemTotal"), _limit(), _windows_memory()[0])


def free_memory_gb() -> float | None:
    """Memory that can still be taken, by the machine's and the container's account."""
    limit, used = _limit(), _bytes(_CGROUP / "memory.current")
    left = limit - used if limit is not None and used is not None else None
    return _least(_meminfo("MemAvailable"), left, _windows_memory()[1])


def peak_memory_gb() -> float | None:
    """The most memory that this process has held since it began (its resident set)."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30, 3)


def _least(*amounts: int | None) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return round(min(known) / 2**30, 1) if known else None


def _meminfo(key: str) -> int | None:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    if key == "MemTotal" and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _limit() -> int | None:
    return _bytes(_CGROUP / "memory.max")


def _bytes(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _cpu_name() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class _MemoryStatus(ctypes.Structure):
    """What Windows' ``GlobalMemoryStatusEx`` fills in."""

    _fields_ = (
        ("length", ctypes.c_ulong),
        ("load", ctypes.c_ulong),
        ("total", ctypes.c_ulonglong),
        ("available", ctypes.c_ulonglong),
        ("rest", ctypes.c_ulonglong * 5),
    )


def _windows_memory() -> tuple[int | None, int | None]:
    """Total and available bytes on Windows; (None, None) elsewhere."""
    windll = getattr(ctypes, "windll", None)
    if windll is None:
        return None, None
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if not windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return int(status.total), int(status.available)
