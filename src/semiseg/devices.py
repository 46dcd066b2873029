"""The device that a name such as ``auto`` or ``cuda:1`` means here, and its fastest number format."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from semiseg.errors import DeviceError, UsageError
from semiseg.machine import cpu, peak_memory_gb


def select_device(name: str | torch.device = "auto") -> torch.device:
    """``auto`` is the first GPU, else Apple's, else the CPU.

    Raises:
        UsageError: not the name of a device.
        DeviceError: a device that this machine does not have.
    """
    if name == "auto":
        return _best()
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


@dataclass(frozen=True)
class Accelerator:
    """A card, as a plan sees it."""

    name: str
    memory_gb: float


def accelerator(name: str) -> Accelerator | None:
    """The card that a device's name means; None where this machine has none.

    A name without a number means the card with the least memory: a run on several makes one plan.
    """
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
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    if device.type == "cpu":
        return "bf16" if cpu()["bf16"] else "32"
    return "32"


def forget_peak_memory(device: torch.device) -> None:
    """Let :func:`peak_memory` count from here on a GPU; that of a process cannot be forgotten."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, float | None]:
    """GB at most: ``memory_gb`` of this process since it began, ``device_memory_gb`` of tensors on a GPU."""
    found: dict[str, float | None] = {"memory_gb": peak_memory_gb()}
    if device.type == "cuda":
        found["device_memory_gb"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    return found


def _best() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
