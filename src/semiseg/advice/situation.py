"""What is known of a dataset and a machine before a method is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from semiseg.methods._catalog import Description
from semiseg.preparation.network_size import BASE_GB
from semiseg.preparation.plan import NetworkPlan, Plan

CORE_RATE = {True: 50e9, False: 15e9}
"""Multiply-adds per second and CPU core in training, with and without bf16 instructions: what the runs of
``docs/results.md`` took, within a factor of two."""


@dataclass(frozen=True)
class LabelFacts:
    """What the labels of the labeled cases show, a sample of them at most."""

    cases: int
    """How many were looked at."""
    rarest: str
    """The foreground class with the fewest voxels."""
    rarest_share: float
    """Its share of all voxels."""
    absent: float
    """Share of the labeled cases in which some class is missing."""
    pieces: float
    """Connected pieces per class and case, the median; 0 where nothing is labeled."""


@dataclass(frozen=True)
class Situation:
    """The facts that rules and figures are weighed with."""

    dataset: str
    dim: int
    channels: int
    classes: int
    """K, with background."""
    labeled: int
    unlabeled: int
    labels: LabelFacts
    patch: tuple[int, ...]
    batch: int
    plan_gb: tuple[float, float]
    """Memory for training one network, and two."""
    device: str
    iterations: int
    """Of a whole run on this device."""
    step_seconds: float | None
    """Estimate of a supervised iteration; None where nothing is known of the device."""
    memory_gb: float | None = None
    """What may be used; None where it cannot be told: then everything fits."""
    minutes: float | None = None
    """What a run may take; None for as long as it takes."""

    @property
    def minutes_supervised(self) -> float | None:
        """A whole supervised run."""
        return None if self.step_seconds is None else self.iterations * self.step_seconds / 60

    def needs_gb(self, method: Description) -> float:
        """Memory for training with a method, by the number of its networks."""
        one = self.plan_gb[1] - self.plan_gb[0]
        return round(self.plan_gb[0] + (method.facts.memory - 1) * one, 2)

    def needs_minutes(self, method: Description) -> float | None:
        """Minutes of a whole run with a method, by the work of its steps."""
        whole = self.minutes_supervised
        return None if whole is None else whole * (method.facts.work or 1.0)

    def affordable(self, method: Description) -> int:
        """Iterations that fit the time: all of them, or fewer."""
        whole = self.needs_minutes(method)
        if whole is None or self.minutes is None or whole <= self.minutes:
            return self.iterations
        return int(self.iterations * self.minutes / whole)


def multiply_adds(plan: Plan) -> float:
    """Of a training iteration of the planned network: three forward passes' worth per patch."""
    voxels = float(math.prod(plan.patch))
    return 3 * plan.batch * voxels * _per_voxel(plan.network, len(plan.channels))


def _per_voxel(network: NetworkPlan, channels: int) -> float:
    """Per voxel of the patch: two convolutions down and two up per stage, and the up-sampling."""
    total, before, share = 0.0, channels, 1.0
    for i, (width, stride, kernel) in enumerate(
        zip(network.features, network.strides, network.kernels, strict=True)
    ):
        above, share = share, share / math.prod(stride)
        total += share * math.prod(kernel) * width * (before + width)
        if i:
            total += share * math.prod(stride) * width * before
            total += above * math.prod(network.kernels[i - 1]) * 3 * before**2
        before = width
    return total


def free_gpu_gb(device: str) -> float | None:
    """Memory of a GPU that nobody uses yet; None where this machine has no such GPU."""
    import torch

    if not device.startswith("cuda") or int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
        return None
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return round(float(free) / 1e9 - BASE_GB["cuda"], 1)
