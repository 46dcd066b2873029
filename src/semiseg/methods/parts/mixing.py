"""Samples paired and mixed: mixup, masks with rectangular holes through which another image shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor


def beta_factors(n: int, alpha: float, like: Tensor) -> Tensor:
    """``n`` draws of Beta(alpha, alpha), one per pair, shaped (n, 1, *1) to fit ``like`` (B, C, *S).

    With alpha = 0.2 most draws are close to 0 or 1 (58 % within 0.05).
    """
    concentration = torch.full((n,), alpha, dtype=torch.float32, device=like.device)
    factors: Tensor = torch.distributions.Beta(
        concentration,
        concentration,
        validate_args=False,  # looking at the values would wait for the device
    ).sample()
    return factors.view(n, *[1] * (like.ndim - 1))


def mixup(first: Tensor, second: Tensor, factor: Tensor) -> Tensor:
    """``(1 - f) first + f second`` (Zhang et al. 2018, arXiv:1710.09412) of (B, C, *S), with f (B, 1, *1)."""
    return (1.0 - factor) * first + factor * second


def half(n: int) -> int:
    """Half of n, rounded up."""
    return -(-n // 2)


def groups(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The first n samples and the next n, starting again where they end."""
    rounds = -(-2 * n // len(x))
    first, second = torch.split(torch.cat([x] * rounds)[: 2 * n], n)
    return first, second


Region = Literal["box", "boxes", "strip"]


def draw_mask(size: Sequence[int], ratio: float, region: Region = "box") -> Tensor:
    """(*S) bool on the CPU, False in holes at random places (Bai et al. 2023, arXiv:2305.00673).

    The hole is a ``box`` with sides of ``ratio`` times those of the image; ``boxes`` are a third as large,
    one in each cell of a grid of three by three (by three); a ``strip`` is all of the image between two
    planes across the first axis, of the box's volume.
    """
    cells = 3 if region == "boxes" else 1
    if region == "strip":
        sides = (*scaled(size[:1], ratio ** len(size)), *size[1:])
    else:
        sides = scaled(size, ratio / cells)
    return mask_of(size, draw_starts(size, sides, cells), sides)


def scaled(size: Sequence[int], ratio: float) -> tuple[int, ...]:
    """Each length times the ratio, rounded down: 112 gives 74 and 80 gives 53 with 2/3."""
    return tuple(int(ratio * length + 1e-9) for length in size)


def draw_starts(size: Sequence[int], sides: Sequence[int], cells: int = 1) -> list[tuple[int, ...]]:
    """Where a box of these sides begins in each cell of a grid, from torch's CPU generator.

    All places in a cell, ``size // cells`` voxels per axis, are equally likely but the last one along each
    axis, which the published code never draws; a box that fills its cell stays where it is.
    """
    lengths = [length // cells for length in size]
    rooms = [max(length - side, 1) for length, side in zip(lengths, sides, strict=True)]
    return [
        tuple(
            k * length + int(torch.randint(room, ()))
            for k, length, room in zip(cell, lengths, rooms, strict=True)
        )
        for cell in product(range(cells), repeat=len(size))
    ]


def mask_of(size: Sequence[int], starts: Sequence[Sequence[int]], sides: Sequence[int]) -> Tensor:
    """(*S) bool, False in the boxes that begin at ``starts``."""
    mask = torch.ones(tuple(size), dtype=torch.bool)
    for start in starts:
        mask[tuple(slice(a, a + side) for a, side in zip(start, sides, strict=True))] = False
    return mask


def draw_columns(
    count: int, size: Sequence[int], concentration: float = 4.0, sides_of: Sequence[int] | None = None
) -> Tensor:
    """Boxes for CutMix, True inside: full depth, one share of the plane for all, each about its own center.

    Half the sides are ``floor(edge sqrt(1 - b)) // 2`` with one b ~ Beta(concentration, concentration);
    centers are uniform from an eighth of the edge to its end; what is beyond the border is cut off (Liu et
    al. 2022, arXiv:2203.14523). ``sides_of`` has the edges, if they are not those of the image.

    Returns:
        (count, 1, *S) bool, on the CPU, drawn from torch's CPU generator.
    """
    edges = (sides_of or size)[:2]
    share = math.sqrt(1.0 - float(beta_factors(1, concentration, torch.empty(1, 1))))
    centers = [[int(torch.randint(edge // 8, edge, ())) for _ in range(count)] for edge in edges]
    halves = [int(edge * share) // 2 for edge in edges]
    return columns(size, list(zip(*centers, strict=True)), [halves] * count, limits=edges)


def columns(
    size: Sequence[int],
    centers: Sequence[Sequence[int]],
    halves: Sequence[Sequence[int]],
    *,
    limits: Sequence[int] | None = None,
) -> Tensor:
    """(n, 1, *S) bool, True from ``center - half`` up to ``center + half`` in the first two axes.

    Boxes end at ``limits``, if not at the border of the image, and have its full depth.
    """
    masks = torch.zeros((len(centers), 1, *size), dtype=torch.bool)
    ends = (limits or size)[:2]
    for mask, center, half in zip(masks, centers, halves, strict=True):
        box = [
            slice(max(c - h, 0), max(min(c + h, end), 0))
            for c, h, end in zip(center, half, ends, strict=True)
        ]
        mask[(0, *box)] = True
    return masks


def overlap(shift: Sequence[int], size: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Slices of the part of the first crop, and of the second, that the other one shows; None without any.

    The second crop, of the same size, begins ``shift`` voxels per axis after the first.
    """
    first = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, size, strict=True))
    second = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(shift, size, strict=True))
    return (first, second) if all(box.start < box.stop for box in first) else None
