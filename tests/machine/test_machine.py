"""Memory, cores and instruction sets, as far as the system tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from semiseg.machine import hardware


def fake(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    monkeypatch.setattr(hardware, "_lines", lambda path: files.get(Path(path).as_posix(), "").splitlines())


def test_memory_is_what_the_container_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/proc/meminfo": f"MemTotal: {64 * 2**20} kB\nMemAvailable: {32 * 2**20} kB\n"}
    fake(monkeypatch, files)
    assert (hardware.total_memory_gb(), hardware.free_memory_gb()) == (64.0, 32.0)
    files["/sys/fs/cgroup/memory.max"] = str(16 * 2**30)
    files["/sys/fs/cgroup/memory.current"] = str(6 * 2**30)
    assert (hardware.total_memory_gb(), hardware.free_memory_gb()) == (16.0, 10.0)
    files["/sys/fs/cgroup/memory.max"] = "max"
    assert (hardware.total_memory_gb(), hardware.free_memory_gb()) == (64.0, 32.0)


@pytest.mark.parametrize(
    ("flags", "bf16"),
    [
        ("flags : fpu avx2 avx512f avx512_bf16", True),
        ("flags : fpu amx_bf16", True),
        ("flags : fpu avx2", False),
    ],
)
def test_bf16_is_told_from_the_flags(monkeypatch: pytest.MonkeyPatch, flags: str, bf16: bool) -> None:
    fake(monkeypatch, {"/proc/cpuinfo": f"model name : Some CPU\n{flags}\n"})
    assert (hardware.cpu()["bf16"], hardware.cpu()["name"]) == (bf16, "Some CPU")


def test_nothing_is_invented_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, {})
    assert (hardware.cpu()["bf16"], hardware.cpu()["flags"], hardware.free_memory_gb()) == (None, None, None)
    assert hardware.cpu()["name"]


@pytest.mark.skipif(sys.platform == "win32", reason="not told on Windows")
def test_peak_memory_never_shrinks_and_sees_what_was_taken() -> None:
    asked = """
from semiseg.machine.hardware import peak_memory_gb
told = [peak_memory_gb()]
held = b"1" * int((told[0] + 0.1) * 2**30)
told.append(peak_memory_gb())
del held
print(*told, peak_memory_gb())
"""  # in a process of its own, whose peak is low: this one's may be gigabytes
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    before, after, freed = map(float, done.stdout.split())
    assert after >= before + 0.1
    assert freed >= after
