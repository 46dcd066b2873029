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
    """``(1 - f) first + f second`` (Zhang et al. 2018, arXiv:1710.09412), for images and probabilities alike.

    Args:
        first: (B, C, *S).
        second: (B, C, *S).
        factor: (B, 1, *1) in [0, 1], the share of the *second*.
    """
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
    """A mask with holes at random places, False inside them (Bai et al. 2023, arXiv:2305.00673).

    Args:
        size: of the image, per spatial axis.
        ratio: of the sides of the one box to those of the image, in [0, 1].
        region: ``box``; ``boxes``, one a third as large in each cell of a grid of three by three (by three);
            or ``strip``, all of the image between two planes across the first axis, of the box's volume.

    Returns:
        (*S) bool, on the CPU.
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

    All places in a cell are equally likely but the last one along each axis, which the published code never
    draws; a box that fills its cell stays where it is.

    Args:
        size: of the image.
        sides: of a box, no longer than a cell.
        cells: per axis; each takes ``size // cells`` voxels.
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

    Half the sides are ``floor(edge sqrt(1 - b)) // 2`` with one b ~ Beta(c, c); centers are uniform from an
    eighth of the edge to its end; what is beyond the border is cut off (Liu et al. 2022, arXiv:2203.14523).
    All draws are from torch's CPU generator.

    Args:
        count: of boxes.
        size: of the image, two axes or three.
        concentration: c.
        sides_of: the edges that centers, sides and their end follow, if they are not the image's own.

    Returns:
        (count, 1, *S) bool, on the CPU.
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
    """(n, 1, *S) bool, True within so many voxels of each center in the first two axes, at any depth.

    Args:
        size: of the image, two axes or three.
        centers: of each box.
        limits: where boxes end, if not at the border of the image.
        halves: of the sides of each box: it covers ``center - half`` to ``center + half``, the end excluded.
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
    """The part of each crop that the other one shows too; None if there is none.

    Args:
        shift: by how many voxels per axis the second crop begins after the first.
        size: of both.

    Returns:
        Slices per axis of the first crop and of the second.
    """
    first = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, size, strict=True))
    second = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(shift, size, strict=True))
    return (first, second) if all(box.start < box.stop for box in first) else None
