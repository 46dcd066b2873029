"""A scan of fewer voxels for looking and drawing, and what was drawn on it on the scan's own grid again.

A coarse voxel stands for a block of voxels and shows the one in its middle. What was drawn is written back
block by block, and only where it differs from what was there: blocks that nobody touched keep every voxel.
The coarse picture of the result is what was drawn, and an undone stroke leaves no trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.images.grid import Grid

PREVIEW_VOXELS = 4 * 2**20
"""Of a coarse scan at most: so many are drawn fast enough without a graphics card."""

Array = NDArray[Any]


def steps(grid: Grid, most: int = PREVIEW_VOXELS) -> tuple[int, ...]:
    """Voxels of a block along each axis: blocks as close to cubes as whole numbers allow."""
    reach = min(grid.spacing)
    while True:
        found = tuple(max(1, int(reach / space + 0.5)) for space in grid.spacing)
        if int(np.prod(_blocks(grid.shape, found))) <= most:
            return found
        reach *= 1.05


def coarse(array: Array, grid: Grid, most: int = PREVIEW_VOXELS) -> tuple[Array, Grid]:
    """The middle voxel of each block, on the grid of the blocks.

    Args:
        array: of the axes of ``grid`` first.
        grid: of the scan.
        most: blocks there may be.
    """
    size = steps(grid, most)
    middles = [
        np.minimum(np.arange(count) * step + (step - 1) // 2, n - 1)
        for count, step, n in zip(_blocks(grid.shape, size), size, grid.shape, strict=True)
    ]
    found = np.ascontiguousarray(array[np.ix_(*middles)])
    affine = grid.affine @ np.diag([*map(float, size), 1.0])
    affine[:3, 3] = (grid.affine @ [*((step - 1) / 2 for step in size), 1.0])[:3]
    return found, Grid(found.shape[: len(size)], affine, grid.unit)


def written_back(drawn: Array, bases: Sequence[Array], grid: Grid, most: int = PREVIEW_VOXELS) -> Array:
    """What was drawn on the blocks, on the voxels of the scan.

    Args:
        drawn: one value per block.
        bases: label maps on ``grid`` that it may have begun from. Where the drawing shows what the first of
            them shows, that one's voxels are taken; else those of the next one; else the block is filled.
        grid: of the scan.
        most: as it was for :func:`coarse`.
    """
    size = steps(grid, most)
    shown = [coarse(base, grid, most)[0] for base in bases]
    for base, seen in zip(bases, shown, strict=True):
        if np.array_equal(seen, drawn):
            return base
    result = _spread(drawn, size, grid.shape)
    for base, seen in reversed(list(zip(bases, shown, strict=True))):
        kept = _spread(seen == drawn, size, grid.shape)
        result = result.astype(np.promote_types(result.dtype, base.dtype), copy=False)
        np.copyto(result, base, where=kept)
    return result


def _blocks(shape: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-n // step) for n, step in zip(shape, size, strict=True))


def _spread(blocks: Array, size: Sequence[int], shape: Sequence[int]) -> Array:
    """The value of its block at each voxel."""
    for axis, (step, n) in enumerate(zip(size, shape, strict=True)):
        blocks = np.take(blocks, np.arange(n) // step, axis)
    return blocks
