"""What this machine can do at most, measured in the same run: matrix products and copies; and FLOPs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch
from benchmarks.speed import clock
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from semiseg.machine.hardware import native_precision


def measured(device: torch.device, *, quick: bool = False) -> dict[str, float]:
    """FLOP/s of square matrix products in float32 and bf16, and bytes/s (read and written) of a copy.

    On a CPU these are CPU seconds, as those that are compared with them: other load matters little. bf16 is
    left out where the hardware has none: emulated, one product takes minutes, and nothing is computed in it.
    """
    size = 256 if quick else None
    found = {}
    formats = {"fp32": torch.float32}
    if native_precision(device) == "bf16":
        formats["bf16"] = torch.bfloat16
    for name, dtype in formats.items():
        found[f"gemm_{name}"] = products(device, dtype, counted(device), size)
    source = torch.ones(2**20 if quick else 2**28, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    found["copy"] = 2 * source.numel() / _best(lambda: target.copy_(source), device, counted(device))
    return found


def products(device: torch.device, dtype: torch.dtype, kind: str, size: int | None = None) -> float:
    """FLOP/s of a product of two square matrices, by ``wall`` or ``cpu`` seconds."""
    size = size or (8192 if device.type == "cuda" else 4096)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _best(lambda: a @ b, device, kind)


def ours(found: dict[str, float]) -> tuple[str, float]:
    """The number format that our paths compute in here, and the rate of its matrix products."""
    name = "bf16" if "gemm_bf16" in found else "fp32"
    return name, found[f"gemm_{name}"]


def _best(call: Callable[[], object], device: torch.device, kind: str, repeats: int = 4) -> float:
    """Seconds of the fastest call."""
    which = ("wall", "cpu").index(kind)
    return min(clock.timed(call, device)[which] for _ in range(repeats))


def counted(device: torch.device) -> str:
    """Which seconds are compared with the limit: ``wall`` on a GPU, ``cpu`` on a CPU."""
    return "wall" if device.type == "cuda" else "cpu"


def network_flops(net: nn.Module, shape: tuple[int, ...]) -> tuple[float, float]:
    """Operations of a forward pass, and of a forward and a backward pass, on the meta device.

    Args:
        net: is moved to the meta device: give a fresh one.
        shape: (B, C, *S) of its input.
    """
    net = net.to("meta")
    x = torch.empty(shape, device="meta")
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        net(x)
    with FlopCounterMode(display=False) as both:
        net(x).sum().backward()
    return float(forward.get_total_flops()), float(both.get_total_flops())


def peak_alone(call: Callable[[], object]) -> float:
    """MB that a call takes at most in a process of its own, beyond what this one has: Linux, CPU."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def child() -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _status("VmRSS")
        call()
        send.send((_status("VmHWM") - before) / 1024)

    process = context.Process(target=child)
    process.start()
    send.close()
    try:
        return float(receive.recv())
    finally:
        process.join()


def _status(key: str) -> int:
    """kB of an entry of the kernel's about this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def peak_of(call: Callable[[], object], device: torch.device) -> float | None:
    """MB of device memory that a call needs at most; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) / 2**20
