"""Refuses trainings that are far larger than this machine, before any scan is prepared for them."""

from __future__ import annotations

import math

from semiseg import methods, networks
from semiseg.errors import UsageError, plural
from semiseg.machine.hardware import accelerator, total_memory_gb
from semiseg.preparation.network_size import Load, budget_for, memory
from semiseg.preparation.plan import Plan
from semiseg.settings.config import Config

FAR = 4
"""Estimates are not off by this factor. What may fit is tried."""
SIZED = ("auto", "unet", "resenc")
"""Networks whose memory can be estimated; of others only the images of a batch are known."""


def require_memory(plan: Plan, config: Config, device: str) -> None:
    """Refuse a plan whose patch, batch or network cannot fit, wherever they came from.

    Args:
        plan: made here, or read from a file.
        config: its batch counts before the plan's.
        device: ``cpu`` and accelerators of this machine are looked at; of others nothing is known.

    Raises:
        UsageError: training needs several times the memory that is there.
    """
    card = None if device.startswith("cpu") else accelerator(device)
    there = card.memory_gb if card else total_memory_gb() if device.startswith("cpu") else None
    batch = samples(plan, config)
    need = needed_gb(plan, config, device, batch)
    if there is None or need <= FAR * there:
        return
    name, patch = config.network.name, "x".join(map(str, plan.patch))
    network = f"features {'x'.join(map(str, plan.network.features))}" if name in SIZED else f"network {name}"
    where = f"{card.name} has" if card else "this machine has"
    raise UsageError(
        f"training on {plural(batch, 'patch', 'patches')} of {patch} voxels with {network} needs about "
        f"{need:,.0f} GB of memory, {where} {there:g}",
        hint="lower plan.patch, plan.batch or plan.features; left out, the planner fits them to the memory",
        code="PLAN_MEMORY",
        details={"needed_gb": need, "memory_gb": there},
    )


def samples(plan: Plan, config: Config) -> int:
    """Patches per iteration, as the configuration has them or else the plan."""
    labeled = config.batch.labeled or max(plan.batch // 2, 1)
    unlabeled = config.batch.unlabeled
    return labeled + (max(plan.batch - labeled, 0) if unlabeled is None else unlabeled)


def needed_gb(plan: Plan, config: Config, device: str, batch: int) -> float:
    """The planner's estimate of training these patches; at least their images."""
    channels, classes = len(plan.channels), plan.classes
    if config.network.name not in SIZED:
        return batch * math.prod(plan.patch) * (channels + classes) * 4 / 1e9
    trained = methods.memory(config.method.name)
    blocks = networks.blocks(config.network.name, config.network.options)
    load = Load(channels, classes, batch, plan.network.features, trained, blocks)
    spacing = [mm or 1.0 for mm in plan.spacing[3 - plan.dim :]]
    network = plan.network
    whole = len(network.strides) == len(network.kernels) == len(network.features)  # not so if written by hand
    given = network if whole else None
    return memory(plan.patch, spacing, budget_for(device, plan.dim), load, given)["as planned"]
