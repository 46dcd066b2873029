"""An image in memory and where it lies in the patient: arrays in file order, affines in RAS+ millimeters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

GEOMETRY_TOLERANCE_MM = 1e-3
"""Two grids whose corners differ by less are the same grid with float noise."""

Affine = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """A voxel grid in the patient.

    Attributes:
        shape: voxels per array axis; two axes for a plain 2D image, three for a volume.
        affine: (4, 4) float64, index (i, j, k, 1) -> RAS+ millimeters (nibabel's convention). For a 2D image
            the third column is the unit normal, so that the matrix stays invertible.
    """

    shape: tuple[int, ...]
    affine: Affine

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimeters between voxel centers along each array axis."""
        norms = np.linalg.norm(self.affine[:3, : len(self.shape)], axis=0)
        return tuple(float(n) for n in norms)

    def corner_gap_mm(self, other: Grid) -> float:
        """The largest distance in mm between matching corners of the two grids (inf for unlike shapes)."""
        if self.shape != other.shape:
            return float("inf")
        ends = [(0, n - 1) for n in self.shape] + [(0, 0)] * (3 - len(self.shape))
        corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
        gap = (self.affine - other.affine) @ np.vstack([corners, np.ones(corners.shape[1])])
        return float(np.linalg.norm(gap[:3], axis=0).max())

    def matches(self, other: Grid) -> bool:
        """Whether both are the same grid up to float noise (below 1e-3 mm at every corner)."""
        return self.corner_gap_mm(other) <= GEOMETRY_TOLERANCE_MM


@dataclass(frozen=True)
class Header:
    """What a file says of itself, read without reading (or allocating) its voxels.

    ``channels`` is 1, or 3/4 for RGB(A). ``needed_bytes`` is what the header claims the voxels take once
    decoded, ``present_bytes`` an upper bound of what the file can hold (None where compression hides it).
    """

    grid: Grid
    dtype: str
    channels: int = 1
    needed_bytes: int = 0
    present_bytes: int | None = None


@dataclass(frozen=True)
class Volume:
    """Voxels and their grid.

    Attributes:
        array: shape ``grid.shape``; any numeric dtype, in the file's own axis order.
        grid: where the voxels lie.
        meta: what the writer needs to give the file back as it came (header, SOP instances); never patient
            identifiers in a log.
    """

    array: NDArray[Any]
    grid: Grid
    meta: dict[str, Any] = field(default_factory=dict)
