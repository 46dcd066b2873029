"""Parts of large scans: a coarse preview of all of it, and boxes of true voxels that can be drawn on.

A browser that draws by a processor cannot turn a CT of 100 million voxels. It gets a box instead; what is
drawn there goes back into the whole label, voxel by voxel, and what lies outside stays as it was saved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import UsageError
from semiseg.images.grid import Grid

BIG_VOXELS = 32 * 2**20
"""Larger scans are shown as a preview first."""
PREVIEW_VOXELS = 2 * 2**20
"""Of a preview, at most: so many a processor shows in a second, where there is no graphics card."""
BOX_VOXELS = 4 * 2**20
"""Of a box that is drawn on, at most."""
PREVIEW = "preview"

Array = NDArray[Any]
Box = tuple[tuple[int, int], ...]
"""First voxel and the one after the last, along each axis of the file."""


def is_big(grid: Grid) -> bool:
    """Whether a scan is shown as a preview first."""
    return len(grid.shape) == 3 and math.prod(grid.shape) > BIG_VOXELS


def parsed(text: str, grid: Grid) -> Box:
    """The box ``x0,x1,y0,y1,z0,z1`` of a scan (UsageError: it is none, or reaches out of the scan)."""
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    box = tuple(zip(found[::2], found[1::2], strict=False))
    inside = all(0 <= low < high <= n for (low, high), n in zip(box, grid.shape, strict=False))
    if len(found) != 6 or len(grid.shape) != 3 or not inside:
        raise UsageError(
            f"{text!r} is not a box inside a scan of {' x '.join(map(str, grid.shape))} voxels",
            hint="x0,x1,y0,y1,z0,z1 within the scan",
            code="BAD_BOX",
        )
    return box


def written(box: Box) -> str:
    """A box as :func:`parsed` reads it."""
    return ",".join(str(end) for ends in box for end in ends)


def around(grid: Grid, place: Sequence[float]) -> Box:
    """A box with edges of about one length around a place in mm, moved into the scan where it reaches out."""
    center = np.linalg.inv(grid.affine) @ [*place, 1.0]
    extents = np.multiply(grid.shape, grid.spacing)
    edge = float(extents.max())
    while math.prod(sizes := _sizes(grid, edge)) > BOX_VOXELS:
        edge *= 0.98
    box = []
    for n, size, at in zip(grid.shape, sizes, center, strict=False):
        low = min(max(round(float(at)) - size // 2, 0), n - size)
        box.append((low, low + size))
    return tuple(box)


def cut(array: Array, grid: Grid, part: str) -> tuple[Array, Grid]:
    """A volume (*S) or (*S, 3) as ``part`` says: ``""`` is all of it, ``preview``, or a box.

    Raises:
        UsageError: no box of this scan.
    """
    if not part:
        return array, grid
    if part == PREVIEW:
        return thinned(array, grid)
    box = parsed(part, grid)
    affine = grid.affine.copy()
    affine[:, 3] = grid.affine @ [*(low for low, _ in box), 1.0]
    inside = array[slices(box)]
    return inside, Grid(inside.shape[:3], affine, grid.unit)


def slices(box: Box) -> tuple[slice, ...]:
    """A box as an index of an array."""
    return tuple(slice(*ends) for ends in box)


def pasted(whole: Array | None, grid: Grid, box: Box, inside: Array) -> Array:
    """The label map of a whole scan with the voxels of a box replaced; None is an empty one."""
    kind = inside.dtype if whole is None else np.promote_types(whole.dtype, inside.dtype)
    found = np.zeros(grid.shape, kind) if whole is None else whole.astype(kind)
    found[slices(box)] = inside
    return found


def thinned(array: Array, grid: Grid) -> tuple[Array, Grid]:
    """Every second voxel, along the finest axes first, until it is no more than a preview."""
    steps = [1] * 3
    while math.prod(n // s for n, s in zip(grid.shape, steps, strict=True)) > PREVIEW_VOXELS:
        now = [
            space * step if n // step > 1 else np.inf
            for space, step, n in zip(grid.spacing, steps, grid.shape, strict=True)
        ]
        steps[int(np.argmin(now))] *= 2
    array = array[tuple(slice(None, None, step) for step in steps)]
    affine = grid.affine @ np.diag([*steps, 1.0])
    return array, Grid(array.shape[:3], affine, grid.unit)


def _sizes(grid: Grid, edge: float) -> list[int]:
    """Voxels of a box with edges of this length, as far as the scan reaches."""
    return [min(n, max(1, round(edge / space))) for n, space in zip(grid.shape, grid.spacing, strict=True)]
