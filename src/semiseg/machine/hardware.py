"""Cores, memory and instruction sets of this machine, None where it cannot be told; its devices."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.errors import DeviceError, UsageError
from semiseg.settings import environment

if TYPE_CHECKING:
    import torch

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
    return _least(_meminfo("MemTotal"), _bytes(_CGROUP / "memory.max"), _windows_memory()[0])


def free_memory_gb() -> float | None:
    """Memory that can still be taken, by the machine's and the container's account."""
    limit, used = _bytes(_CGROUP / "memory.max"), _bytes(_CGROUP / "memory.current")
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


def select_device(name: str | torch.device = "auto") -> torch.device:
    """``auto`` is the first GPU, else Apple's, else the CPU.

    Raises:
        UsageError: not the name of a device.
        DeviceError: a device that this machine does not have.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(
            f"unknown device {str(name)!r}", hint="use auto, cpu, cuda, cuda:N or mps", code="UNKNOWN_DEVICE"
        )
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= count[device.type]:
        has = f"{count['cuda']} CUDA devices" if device.type == "cuda" else "no such device"
        raise DeviceError(
            f"device {str(device)!r} was asked for, this machine has {has}",
            hint="use --device auto or cpu; `semiseg doctor` lists the devices",
            code="NO_DEVICE",
        )
    return device


def device_names() -> list[str]:
    """The names that :func:`select_device` knows on this machine, the fastest first."""
    import torch

    cards = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [*cards, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


@dataclass(frozen=True)
class Accelerator:
    """A card, as a plan sees it."""

    name: str
    memory_gb: float


def accelerator(name: str) -> Accelerator | None:
    """The card that a device's name means; None where this machine has none.

    A name without a number means the card with the least memory: a run on several makes one plan.
    """
    import torch

    kind, _, index = name.partition(":")
    if kind == "mps" and torch.backends.mps.is_available():
        return Accelerator("Apple GPU", torch.mps.recommended_max_memory() / 1e9)
    count = torch.cuda.device_count() if kind == "cuda" else 0
    chosen = [int(index)] if index else range(count)
    cards = [torch.cuda.get_device_properties(i) for i in chosen if i < count]
    found = [Accelerator(card.name, card.total_memory / 1e9) for card in cards]
    return min(found, key=lambda card: card.memory_gb, default=None)


def native_precision(device: torch.device) -> str:
    """``bf16`` where it is fast on this device, else ``32``."""
    import torch

    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    if device.type == "cpu":
        return "bf16" if cpu()["bf16"] else "32"
    return "32"


def forget_peak_memory(device: torch.device) -> None:
    """Let :func:`peak_memory` count from here on a GPU; that of a process cannot be forgotten."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, float | None]:
    """GB at most: ``memory_gb`` of this process since it began, ``device_memory_gb`` of tensors on a GPU."""
    import torch

    found: dict[str, float | None] = {"memory_gb": peak_memory_gb()}
    if device.type == "cuda":
        found["device_memory_gb"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    return found


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Numbers of glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next step; returns whether it now does.

    It gives every large tensor back to the kernel and gets it anew, page by page: a third of a fast training
    step. Told to keep it, a UA-MT step of the left-atrium protocol took 0.70 of the time and 1 GB more memory
    (5.8 instead of 4.8). There is nothing to gain on a GPU, where torch keeps memory by itself.

    ``SEMISEG_KEEP_MEMORY=0``, a user's own ``MALLOC_*`` settings and other C libraries are left alone. Every
    later call of the process is affected.
    """
    mallopt = None if why_not() else _mallopt()
    if mallopt is None:
        return False
    done = (mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, 2**31 - 1), mallopt(_TOP_PAD, 64 * 2**20))
    return all(done)


def why_not() -> str | None:
    """What keeps :func:`keep_freed_memory` from doing anything here, or None."""
    if not environment.read().keep_memory:
        return "SEMISEG_KEEP_MEMORY=0"
    own = [name for name in sorted(os.environ) if name.startswith("MALLOC_")]
    if own:
        return f"left to {', '.join(own)}"
    return None if _mallopt() else "not the allocator of glibc"


def _mallopt() -> Callable[[int, int], int] | None:
    if not sys.platform.startswith("linux") or "jemalloc" in os.environ.get("LD_PRELOAD", ""):
        return None
    try:
        library = ctypes.CDLL("libc.so.6")
        library.gnu_get_libc_version  # noqa: B018  # musl has none
        found: Callable[[int, int], int] = library.mallopt
    except (OSError, AttributeError):
        return None
    return found
