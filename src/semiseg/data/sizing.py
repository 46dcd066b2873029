"""Second half of planning: patch, stages, batch. A patch must fit the memory, a stage must be worth having.

The rules follow nnU-Net (Isensee et al., Nature Methods 2021, doi:10.1038/s41592-020-01008-z): start from the
median scan and shrink until it fits; halve an axis while it keeps 4 voxels and its voxels are not more than
twice as large as the finest; do not mix across slices that are much farther apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from semiseg.data.plan import NetworkPlan
from semiseg.errors import UsageError

SMALLEST_MAP = 4
"""Voxels per axis that every feature map keeps (unless the patch itself has fewer)."""
BYTES = {"cpu": 52, "cuda": 32}
"""Memory per voxel and feature of a stage, with everything a backward pass needs: float32 on the CPU,
bfloat16 elsewhere. Measured on the default U-Net, with a fifth on top for passing gradients."""
BASE_GB = {"cpu": 0.5, "cuda": 0.7}
"""What the libraries take before the first patch."""


@dataclass(frozen=True)
class Budget:
    """How much a device can do in reasonable time."""

    device: str
    first: int
    """Features at full resolution; each stage doubles them."""
    cap: int
    stages: int
    voxels: int
    """Most voxels per patch."""
    batch: int
    """Most patches per iteration."""
    batch_voxels: int
    """Most voxels per iteration, where that leaves at least four patches."""

    def features(self, stages: int) -> tuple[int, ...]:
        """16, 32, 64, 128, 128, ..."""
        return tuple(min(self.first * 2**i, self.cap) for i in range(stages))


@dataclass(frozen=True)
class Load:
    """What the patch is weighed with."""

    channels: int
    classes: int
    batch: int
    features: tuple[int, ...] | None = None

    @property
    def stages(self) -> int | None:
        """How many stages were asked for."""
        return None if self.features is None else len(self.features)


def budget_for(device: str, dim: int) -> Budget:
    """The CPU gets what it can train in minutes, an accelerator what fits its memory."""
    if device.startswith("cpu"):
        if dim == 2:
            return Budget("cpu", 16, 128, 5, voxels=32_000, batch=12, batch_voxels=262_144)
        return Budget("cpu", 16, 128, 4, voxels=170_000, batch=4, batch_voxels=1 << 62)
    if dim == 2:
        return Budget("cuda", 32, 512, 8, voxels=1024**2, batch=32, batch_voxels=1 << 62)
    return Budget("cuda", 32, 320, 6, voxels=160**3, batch=8, batch_voxels=1 << 62)


def stages_for(
    patch: Sequence[int], spacing: Sequence[float], most: int, *, exact: bool
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Strides and kernels of a U-Net on this patch.

    Args:
        patch: voxels per axis.
        spacing: mm per axis; halving evens out what is anisotropic before it touches the coarse axis.
        most: no more stages than this.
        exact: halve an axis only where that leaves no remainder.
    """
    sizes, mm = [float(n) for n in patch], list(spacing)
    strides, kernels = [(1,) * len(sizes)], [_kernel(sizes, mm)]
    while len(strides) < most:
        can = [n / 2 >= SMALLEST_MAP and not (exact and n % 2) for n in sizes]
        finest = min((m for m, yes in zip(mm, can, strict=True) if yes), default=0.0)
        stride = tuple(2 if yes and m <= 2 * finest else 1 for m, yes in zip(mm, can, strict=True))
        if max(stride) == 1:
            break
        sizes = [n / s for n, s in zip(sizes, stride, strict=True)]
        mm = [m * s for m, s in zip(mm, stride, strict=True)]
        strides.append(stride)
        kernels.append(_kernel(sizes, mm))
    return tuple(strides), tuple(kernels)


def choose_patch(
    median: Sequence[int], spacing: Sequence[float], budget: Budget, memory_gb: float, load: Load
) -> tuple[int, ...]:
    """The largest patch that the budget and the memory allow, no larger than the median scan needs.

    The longest axis is shortened first, step by step. On the CPU the median is rounded down to what the
    stages can halve, elsewhere up (the scan is padded).

    Raises:
        UsageError: not even the smallest patch fits ``memory_gb``.
    """
    sizes = [int(n) for n in median]
    while True:
        strides, _ = stages_for(sizes, spacing, load.stages or budget.stages, exact=False)
        step = _product(strides)
        up = budget.device != "cpu"
        patch = [max(1, (n + d - 1) // d if up else n // d) * d for n, d in zip(sizes, step, strict=True)]
        need = memory(patch, spacing, budget, load)["two networks"]
        if math.prod(patch) <= budget.voxels and need <= memory_gb:
            return tuple(patch)
        longest = max(range(len(patch)), key=lambda a: (patch[a], -a))
        if patch[longest] <= 2 * SMALLEST_MAP:
            raise UsageError(
                f"memory_gb is {memory_gb:g}, but the smallest patch needs {need:.2g} GB",
                hint="give more memory, or fewer features or a smaller batch",
                code="PLAN_MEMORY",
            )
        sizes = list(patch)
        sizes[longest] -= step[longest]


def choose_batch(patch: Sequence[int], budget: Budget, fits: int, all_voxels: int) -> int:
    """An even number of patches: labeled and unlabeled share it.

    Args:
        patch: voxels per axis.
        budget: of the device.
        fits: most patches that the memory holds.
        all_voxels: of all training scans; an iteration should not see more than 5 % of them.
    """
    voxels = math.prod(patch)
    most = min(budget.batch, fits, max(4, budget.batch_voxels // voxels), max(4, all_voxels // 20 // voxels))
    return max(2, most - most % 2)


def memory(
    patch: Sequence[int],
    spacing: Sequence[float],
    budget: Budget,
    load: Load,
    network: NetworkPlan | None = None,
) -> dict[str, float]:
    """Gigabytes for training with ``one network``, and with ``two networks`` that are both trained.

    A mean teacher lies between the two, for it keeps no activations.
    """
    if network is None:
        stages = load.stages or budget.stages
        strides, kernels = stages_for(patch, spacing, stages, exact=False)
        features = (load.features or budget.features(len(strides)))[: len(strides)]
    else:
        strides, kernels, features = network.strides, network.kernels, network.features
    voxels, maps, size = float(math.prod(patch)), 0.0, 1
    for stride, width in zip(strides, features, strict=True):
        size *= math.prod(stride)
        maps += voxels / size * width
    image = voxels * (load.channels + 3 * load.classes) * 4
    per_patch = maps * BYTES[budget.device] + image
    weights = 16 * _parameters(features, strides, kernels, load.channels)
    one = (load.batch * per_patch + weights) / 1e9
    base = BASE_GB[budget.device]
    return {"one network": round(base + one, 2), "two networks": round(base + 2 * one, 2)}


def fitting_patch(patch: Sequence[int], divisor: Sequence[int]) -> tuple[int, ...]:
    """The nearest patch that ``divisor`` divides."""
    return tuple(max(1, math.floor(n / d + 0.5)) * d for n, d in zip(patch, divisor, strict=True))


def _product(strides: Sequence[Sequence[int]]) -> list[int]:
    return [math.prod(axis) for axis in zip(*strides, strict=True)]


def _kernel(sizes: Sequence[float], mm: Sequence[float]) -> tuple[int, ...]:
    return tuple(1 if n <= 1 or m > 2 * min(mm) else 3 for n, m in zip(sizes, mm, strict=True))


def _parameters(
    features: Sequence[int], strides: Sequence[Sequence[int]], kernels: Sequence[Sequence[int]], channels: int
) -> int:
    """Weights of the default U-Net: two convolutions down and two up per stage, and the up-sampling."""
    total, before = 0, channels
    for i, (width, stride, kernel) in enumerate(zip(features, strides, kernels, strict=True)):
        total += math.prod(kernel) * width * (before + width)
        if i:
            total += math.prod(stride) * width * before + math.prod(kernels[i - 1]) * before * 3 * before
        before = width
    return total
