"""From spacing, directions and origin, as the formats tell them, to a RAS+ grid, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semiseg.data.volume import Affine, Grid

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM, ITK and most NRRD files count left and posterior as positive; we count right and anterior."""


def lps_grid(shape: Sequence[int], axes: ArrayLike, origin: ArrayLike) -> Grid:
    """A grid from what LPS formats store.

    Args:
        shape: voxels per axis, two or three.
        axes: (D, 2 or 3) millimeters from one voxel to the next along each array axis, LPS.
        origin: (2 or 3,) millimeters, center of the first voxel, LPS.
    """
    return ras_grid(shape, axes, origin, flip=LPS_TO_RAS)


def ras_grid(
    shape: Sequence[int], axes: ArrayLike, origin: ArrayLike, flip: NDArray[np.float64] | None = None
) -> Grid:
    """A grid from steps and origin in any frame that ``flip`` (4, 4) carries to RAS+."""
    steps = np.asarray(axes, np.float64)
    start = np.asarray(origin, np.float64)
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    affine[: steps.shape[1], : steps.shape[0]] = steps.T
    affine[: start.shape[0], 3] = start
    if flip is not None:
        affine = flip @ affine + 0.0  # no negative zeros
    if steps.shape[0] == 2:
        affine[:3, 2] = unit_normal(affine)
    return Grid(tuple(int(n) for n in shape), affine)


def unit_normal(affine: NDArray[Any]) -> NDArray[np.float64]:
    """The unit vector upright on the first two axes (zero where they fall together)."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    length = float(np.linalg.norm(normal))
    return np.asarray(normal / length if length > 0 else normal * 0.0, dtype=np.float64)


def lps_parts(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The steps (D, 3) and the origin (3,) of a grid, in LPS millimeters."""
    affine = LPS_TO_RAS @ grid.affine + 0.0
    return affine[:3, : len(grid.shape)].T.copy(), affine[:3, 3].copy()


def scaling(spacing: Sequence[float]) -> Affine:
    """The affine of an upright grid at the world's origin with this spacing."""
    affine = np.eye(4)
    for axis, value in enumerate(spacing):
        affine[axis, axis] = value
    return affine


def lies_flat(grid: Grid) -> bool:
    """Whether a 2D grid lies in the plane z = 0, so that files without a third coordinate can hold it."""
    return bool(np.abs(grid.affine[2, [0, 1, 3]]).max() == 0)
