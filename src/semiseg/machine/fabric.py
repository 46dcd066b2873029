"""Lightning Fabric as a toolbox: the ranks of a run and their device, and torch set up to be repeatable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from semiseg.errors import Interrupted
from semiseg.machine.hardware import select_device


def launch(device: str = "auto", devices: int = 1) -> Fabric:
    """Start (or, under ``torchrun``, join) the processes of a run. Nothing is wrapped.

    Raises:
        UsageError: not the name of a device.
        DeviceError: a device that this machine does not have.
    """
    chosen = select_device(device)
    under_torchrun = "LOCAL_RANK" in os.environ and "TORCHELASTIC_RUN_ID" in os.environ
    count = int(os.environ.get("LOCAL_WORLD_SIZE", devices)) if under_torchrun else devices
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1)) if under_torchrun else 1
    many = count * nodes > 1
    where = [chosen.index] if chosen.type == "cuda" and chosen.index is not None and not many else count
    fabric = Fabric(
        accelerator="gpu" if chosen.type == "cuda" else chosen.type,
        devices=where,
        num_nodes=nodes,
        strategy=DDPStrategy() if many else "auto",
    )
    fabric.launch()
    return fabric


@contextmanager
def launched(device: str = "auto", devices: int = 1) -> Iterator[Fabric]:
    """:func:`launch`, and the processes' connection closed in good order at the end.

    A process that leaves while another still talks to it brings the other down. So all wait for one another
    where all arrive, which is the end of a run and an interruption, but not an error of one of them.
    """
    fabric = launch(device, devices)
    together = False
    try:
        yield fabric
        together = True
    except Interrupted:
        together = True
        raise
    finally:
        if fabric.world_size > 1 and torch.distributed.is_initialized():
            if together:
                fabric.barrier("end")
            torch.distributed.destroy_process_group()


@contextmanager
def repeatable(on: bool) -> Iterator[None]:
    """Deterministic kernels where torch has them (on), or the fastest ones (off), for as long as a run lasts.

    On a CPU the results are bit-equal from run to run. On CUDA the operations that have no deterministic
    form (such as the gradient of linear up-sampling) warn once and vary in the last bits.
    """
    filling: Any = torch.utils.deterministic
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        filling.fill_uninitialized_memory,
    )
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(on, warn_only=True)
    torch.backends.cudnn.benchmark = not on
    filling.fill_uninitialized_memory = False  # a pass over every result before it is computed: 3 % of a step
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=True)
        torch.backends.cudnn.benchmark = before[1]
        filling.fill_uninitialized_memory = before[2]
