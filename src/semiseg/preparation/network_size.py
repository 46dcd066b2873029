"""Second half of planning: voxel size and patch together, stages, batch, for a budget of time and memory.

The rules follow nnU-Net (Isensee et al., Nature Methods 2021, doi:10.1038/s41592-020-01008-z): start from the
median scan, rounded up to what the stages halve, and shrink until it fits; where the patch then shows too
little of a scan, take coarser voxels; halve an axis while it keeps 4 voxels and its voxels are not more than
twice as large as the finest; do not mix across slices that are much farther apart. `benchmarks/plans.py`
measures the two limits of coarser voxels, ``seen`` and ``across``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from semiseg.errors import UsageError, plural
from semiseg.images.grid import times
from semiseg.preparation.layout import Layout
from semiseg.preparation.plan import Choice, NetworkPlan

SMALLEST_MAP = 4
"""Voxels per axis that every feature map keeps (unless the patch itself has fewer)."""
BYTES = {"cpu": 52, "cuda": 32}
"""Memory per voxel and feature of a stage, with everything a backward pass needs: float32 on the CPU,
bfloat16 elsewhere. Measured on the default U-Net, with a fifth on top for passing gradients."""
RESIDUAL = (0.6, 0.4)
"""What a stage with a residual encoder keeps, beside one of the default U-Net: so much, and so much for each
block. A block keeps four maps of its features, as two convolutions with their norms do anywhere."""
BASE_GB = {"cpu": 0.5, "cuda": 0.7}
"""What the libraries take before the first patch."""
ASSUMED_GB = 8.0
"""Memory that is planned for where nothing is known (nnU-Net's target)."""
CARD_SHARE = 0.9
"""Of an accelerator's memory; the rest is left to its driver, to fragments and to a screen."""
CASES_SHARE = 0.5
"""Prepared cases that take less than this share of an accelerator's memory stay there during training."""


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
    seen: float
    """Share of the median scan that a patch should show; voxels grow until it does."""
    across: float
    """Fewest voxels that coarsening leaves along a straight line in the structure where it is shortest."""

    def features(self, stages: int) -> tuple[int, ...]:
        """16, 32, 64, 128, 128, ..."""
        return tuple(min(self.first * 2**i, self.cap) for i in range(stages))


@dataclass(frozen=True)
class Memory:
    """What training may take, and where the figure is from."""

    gb: float
    why: str
    holds_cases: bool = False
    """Whether the prepared cases come out of it, too."""

    def room(self, cases_gb: float) -> float:
        """What is left for networks and patches."""
        beside = self.holds_cases and cases_gb < CASES_SHARE * self.gb
        return self.gb - cases_gb if beside else self.gb


@dataclass(frozen=True)
class Load:
    """What the patch is weighed with."""

    channels: int
    classes: int
    batch: int
    features: tuple[int, ...] | None = None
    networks: float = 2.0
    """That are trained at once; one that is not counts a part."""
    blocks: tuple[int, ...] | None = None
    """Residual blocks of each stage of the encoder, the last for all further ones; None for the U-Net."""


def budget_for(device: str, dim: int) -> Budget:
    """The CPU gets what it can train in minutes, an accelerator what fits its memory."""
    if device.startswith("cpu"):
        if dim == 2:
            return Budget("cpu", 16, 128, 5, 32_000, batch=12, batch_voxels=262_144, seen=0.5, across=4)
        return Budget("cpu", 16, 128, 4, 170_000, batch=4, batch_voxels=1 << 62, seen=0.5, across=4)
    if dim == 2:
        return Budget("cuda", 32, 512, 8, 1024**2, batch=32, batch_voxels=1 << 62, seen=0.25, across=8)
    return Budget("cuda", 32, 320, 6, 160**3, batch=8, batch_voxels=1 << 62, seen=0.25, across=8)


def memory_for(device: str, asked: float | None) -> Memory:
    """What is asked for, else most of the accelerator's memory, else :data:`ASSUMED_GB`."""
    if asked is not None:
        return Memory(asked, f"{asked:g} GB, as asked")
    if device.startswith("cpu"):
        return Memory(ASSUMED_GB, f"{ASSUMED_GB:g} GB, assumed")
    from semiseg.machine.hardware import accelerator

    card = accelerator(device)
    if card is None:
        why = f"{ASSUMED_GB:g} GB, assumed: {device} is not in this machine (say plan.memory_gb)"
        return Memory(ASSUMED_GB, why)
    gb = round(CARD_SHARE * card.memory_gb, 1)
    return Memory(gb, f"{gb:g} of the {card.memory_gb:.3g} GB of {card.name}, prepared cases included", True)


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
    strides, kernels = [(1,) * len(sizes)], [_kernel(sizes, mm, (1,) * len(sizes))]
    while len(strides) < most:
        can = [n / 2 >= SMALLEST_MAP and not (exact and n % 2) for n in sizes]
        finest = min((m for m, yes in zip(mm, can, strict=True) if yes), default=0.0)
        stride = tuple(2 if yes and m <= 2 * finest else 1 for m, yes in zip(mm, can, strict=True))
        if max(stride) == 1:
            break
        sizes = [n / s for n, s in zip(sizes, stride, strict=True)]
        mm = [m * s for m, s in zip(mm, stride, strict=True)]
        strides.append(stride)
        kernels.append(_kernel(sizes, mm, kernels[-1]))
    return tuple(strides), tuple(kernels)


def choose_view(
    finest: Layout, budget: Budget, limit: Memory, load: Load, *, fixed: bool
) -> tuple[Layout, Choice[tuple[int, ...]]]:
    """Voxel size and patch together: as fine as the scans, unless a patch would show too little of them.

    Returns:
        The layout with its voxels and their reason, and the patch.
    """

    def view(layout: Layout) -> tuple[float, Layout, tuple[int, ...]]:
        room = limit.room(cases_gb(layout, load.channels))
        patch = choose_patch(layout.median_shape, layout.patch_spacing, budget, room, load)
        return seen(patch, layout), layout, patch

    before, layout, patch = best = view(finest)
    coarser = None if fixed or before >= budget.seen else finest.coarser(budget.across)
    while coarser is not None:
        best = max(best, view(coarser), key=lambda found: found[0])  # the first of equals: the finer
        coarser = coarser.coarser(budget.across) if best[0] < budget.seen else None
    share, layout, patch = best
    why = layout.reasons["spacing"]
    if layout is not finest:
        own = times(finest.patch_spacing, 6)
        why = f"coarser than the scans' {own} mm: a patch shows {share:.0%} of the median, not {before:.0%}"
    small = ""
    if share < budget.seen:
        small = "; a coarser spacing would show more"
        if not fixed:
            run = times(layout.runs[3 - layout.dim :], 2)
            why += f"; not coarser still, for some labeled structure is only {run} mm across"
    median = times(layout.median_shape)
    reason = f"shows {share:.0%} of the median scan of {median} voxels; within {_limits(budget, limit, load)}"
    layout = replace(layout, reasons={**layout.reasons, "spacing": why})
    return layout, Choice(patch, reason + small)


def _limits(budget: Budget, limit: Memory, load: Load) -> str:
    if budget.device == "cpu":
        return "what a CPU trains in minutes"
    weighed = f"weighed for {plural(load.batch, 'patch', 'patches')} and {load.networks:g} trained networks"
    return f"{limit.why}; {weighed} (more with network.checkpointing=true and plan.patch)"


def seen(patch: Sequence[int], layout: Layout) -> float:
    """Share of the median scan that a patch shows."""
    return math.prod(min(n / m, 1.0) for n, m in zip(patch, layout.median_shape, strict=True))


def cases_gb(layout: Layout, channels: int) -> float:
    """Gigabytes of the prepared cases: float32 images and, at most, as many labels."""
    voxels = float(layout.stored_shapes.prod(1, dtype=float).sum())
    return round(voxels * (4 * channels + 1) / 1e9, 2)


def choose_patch(
    median: Sequence[int], spacing: Sequence[float], budget: Budget, memory_gb: float, load: Load
) -> tuple[int, ...]:
    """The largest patch that the budget and the memory allow, no larger than the median scan needs.

    The median scan is rounded up to what the stages can halve: prediction pads it as training does. The
    longest axis is shortened first, step by step.

    Raises:
        UsageError: not even the smallest patch fits ``memory_gb``.
    """
    sizes, most = [int(n) for n in median], len(load.features or ()) or budget.stages
    while True:
        strides, _ = stages_for(sizes, spacing, most, exact=False)
        step = NetworkPlan(strides=strides).divisor
        patch = [max(1, (n + d - 1) // d) * d for n, d in zip(sizes, step, strict=True)]
        small = math.prod(patch) <= budget.voxels
        if small and memory(patch, spacing, budget, load)["as planned"] <= memory_gb:
            return tuple(patch)
        longest = max(range(len(patch)), key=lambda a: (patch[a], -a))
        if patch[longest] <= 2 * SMALLEST_MAP:
            need = memory(patch, spacing, budget, load)["as planned"]
            raise UsageError(
                f"memory_gb is {memory_gb:g}, but the smallest patch needs {need:.2g} GB",
                hint="give more memory, or fewer features or a smaller batch",
                code="PLAN_MEMORY",
            )
        sizes = list(patch)
        sizes[longest] -= step[longest]


def choose_batch(
    patch: Sequence[int], layout: Layout, budget: Budget, load: Load, network: NetworkPlan, room_gb: float
) -> Choice[int]:
    """An even number of patches: labeled and unlabeled share it; at most 5 % of all voxels."""

    def fits(patches: int) -> bool:
        need = memory(patch, layout.patch_spacing, budget, replace(load, batch=patches), network)
        return need["as planned"] <= room_gb

    voxels = math.prod(patch)
    scans = int(layout.shapes[:, 0].sum()) if layout.dim == 2 else len(layout.shapes)
    enough = max(4, math.prod(layout.median_shape) * scans // 20 // voxels)
    held = max((n for n in range(2, budget.batch + 1) if fits(n)), default=2)
    most = min(budget.batch, held, max(4, budget.batch_voxels // voxels), enough)
    why = "even, so that labeled and unlabeled patches share it; at most 5 % of the voxels"
    return Choice(max(2, most - most % 2), why)


def memory(
    patch: Sequence[int],
    spacing: Sequence[float],
    budget: Budget,
    load: Load,
    network: NetworkPlan | None = None,
) -> dict[str, float]:
    """Gigabytes for training ``one network``, ``two networks``, and ``as planned`` (``load.networks``)."""
    if network is None:
        most = len(load.features or ()) or budget.stages
        strides, kernels = stages_for(patch, spacing, most, exact=False)
        features = (load.features or budget.features(len(strides)))[: len(strides)]
    else:
        strides, kernels, features = network.strides, network.kernels, network.features
    voxels, maps, size = float(math.prod(patch)), 0.0, 1
    given = load.blocks
    blocks = [given[min(i, len(given) - 1)] for i in range(len(features))] if given else None
    kept = [1.0] * len(features) if blocks is None else [RESIDUAL[0] + RESIDUAL[1] * n for n in blocks]
    for stride, width, factor in zip(strides, features, kept, strict=True):
        size *= math.prod(stride)
        maps += voxels / size * width * factor
    image = voxels * (load.channels + 3 * load.classes) * 4
    per_patch = maps * BYTES[budget.device] + image
    weights = 16 * _parameters(features, strides, kernels, load.channels, blocks)
    one = (load.batch * per_patch + weights) / 1e9
    base = BASE_GB[budget.device]
    counts = {"one network": 1.0, "two networks": 2.0, "as planned": load.networks}
    return {name: round(base + count * one, 2) for name, count in counts.items()}


def fitting_patch(patch: Sequence[int], divisor: Sequence[int]) -> tuple[int, ...]:
    """The nearest patch that ``divisor`` divides."""
    return tuple(max(1, math.floor(n / d + 0.5)) * d for n, d in zip(patch, divisor, strict=True))


def _kernel(sizes: Sequence[float], mm: Sequence[float], before: Sequence[int]) -> tuple[int, ...]:
    """3 along an axis from the stage on where its voxels are even with the others; deeper stages keep it."""
    rows = zip(sizes, mm, before, strict=True)
    return tuple(3 if k == 3 or (n > 1 and m <= 2 * min(mm)) else 1 for n, m, k in rows)


def _parameters(
    features: Sequence[int],
    strides: Sequence[Sequence[int]],
    kernels: Sequence[Sequence[int]],
    channels: int,
    blocks: Sequence[int] | None,
) -> int:
    """Weights of the default U-Net: two convolutions down and two up per stage, and the up-sampling.

    With residual blocks: two convolutions in each of them, a projection, and one convolution up.
    """
    total, before = 0, channels
    for i, (width, stride, kernel) in enumerate(zip(features, strides, kernels, strict=True)):
        size = math.prod(kernel) * width
        total += size * (before + width) if blocks is None else size * (before + (2 * blocks[i] - 1) * width)
        if i:
            up, skip = 3 if blocks is None else 2, 0 if blocks is None else width
            total += math.prod(stride) * width * before + math.prod(kernels[i - 1]) * before * up * before
            total += skip * before
        before = width
    return total
