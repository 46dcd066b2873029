"""Masks with rectangular holes, where one image shows through another; any number of axes, any size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor

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
