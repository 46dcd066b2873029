"""An image in memory and where it lies in the patient: arrays in file order, affines in RAS+ millimeters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

GEOMETRY_TOLERANCE_MM = 1e-3
"""Two grids whose corners differ by less are the same grid with float noise."""

GEOMETRY_TOLERANCE_VOXELS = 0.05
"""Two grids whose corners differ by a smaller part of a voxel are the same grid with rounded numbers."""

Affine = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """A voxel grid in the patient.

    Attributes:
        shape: voxels per array axis; two axes for a plain 2D image, three for a volume.
        affine: (4, 4) float64, index (i, j, k, 1) -> RAS+ millimeters (nibabel's convention). For a 2D image
            the third column is the unit normal, so that the matrix stays invertible.
        unit: ``px`` where no file says how large a pixel is; "millimeters" are then pixels.
    """

    shape: tuple[int, ...]
    affine: Affine
    unit: Literal["mm", "px"] = "mm"

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimeters between voxel centers along each array axis."""
        norms = np.linalg.norm(self.affine[:3, : len(self.shape)], axis=0)
        return tuple(float(n) for n in norms)

    @property
    def voxel_size(self) -> float:
        """Cubic mm of a voxel, square mm of a pixel: less than the spacing says where the grid is sheared."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def __str__(self) -> str:
        return f"{times(self.shape)} voxels of {times(self.spacing, 4)} mm"

    def corner_gap_mm(self, other: Grid) -> float:
        """The largest distance in mm between matching corners of the two grids (inf for unlike shapes)."""
        if self.shape != other.shape:
            return float("inf")
        return float(np.linalg.norm(self._corner_gaps(other), axis=0).max())

    def corner_gap_voxels(self, other: Grid) -> float:
        """As :meth:`corner_gap_mm`, in voxels of this grid along its axes."""
        if self.shape != other.shape:
            return float("inf")
        return float(np.abs(np.linalg.inv(self.affine[:3, :3]) @ self._corner_gaps(other)).max())

    def matches(self, other: Grid) -> bool:
        """Whether both are the same grid: up to float noise, or to numbers that were rounded on writing."""
        if self.corner_gap_mm(other) <= GEOMETRY_TOLERANCE_MM:
            return True
        return self.corner_gap_voxels(other) <= GEOMETRY_TOLERANCE_VOXELS

    def unlike(self, other: Grid) -> str:
        """What differs from ``other``, with enough digits: spacing, else origin, else directions."""
        pairs = (
            ("spacing", self.spacing, other.spacing),
            ("origin", self.affine[:3, 3], other.affine[:3, 3]),
            ("directions", self.affine[:3, :3].ravel(), other.affine[:3, :3].ravel()),
        )
        name, mine, theirs = next(
            (p for p in pairs if not np.allclose(p[1], p[2], rtol=1e-6, atol=1e-6)), pairs[2]
        )
        return f"{name} {times(mine, 8)}, wanted {times(theirs, 8)}"

    def _corner_gaps(self, other: Grid) -> NDArray[np.float64]:
        """(3, corners) millimeters from the corners of ``other`` to those of this grid."""
        ends = [(0, n - 1) for n in self.shape] + [(0, 0)] * (3 - len(self.shape))
        corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
        gaps = (self.affine - other.affine) @ np.vstack([corners, np.ones(corners.shape[1])])
        return np.asarray(gaps[:3], dtype=np.float64)


def turned(array: NDArray[Any], grid: Grid, wanted: Grid) -> NDArray[Any] | None:
    """``array`` (*S) of ``grid`` with its axes in the order and direction of ``wanted``.

    None where flips and a change of axes do not bring one grid onto the other.
    """
    if len(grid.shape) != len(wanted.shape) or sorted(grid.shape) != sorted(wanted.shape):
        return None
    steps = np.linalg.pinv(wanted.affine[:3, :3]) @ grid.affine[:3, : len(grid.shape)]
    order = np.abs(steps[: len(grid.shape)]).argmax(0)
    if len(set(order)) < len(order):
        return None
    back = np.argsort(order)
    flips = [bool(steps[axis, back[axis]] < 0) for axis in range(len(back))]
    affine = grid.affine.copy()
    affine[:3, : len(back)] = grid.affine[:3, back]
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (grid.shape[back[axis]] - 1)
            affine[:3, axis] *= -1
    if len(back) == 2:
        affine[:3, 2] = wanted.affine[:3, 2]
    if not Grid(tuple(grid.shape[axis] for axis in back), affine).matches(wanted):
        return None
    extra = tuple(range(len(back), array.ndim))
    moved = array.transpose((*back, *extra))
    return moved[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def times(values: Iterable[float], digits: int = 12) -> str:
    """``12 x 13.5 x 1``: sizes, with so many digits that count."""
    return " x ".join(f"{value:.{digits}g}" for value in values)


@dataclass(frozen=True)
class Header:
    """What a file says of itself, read without reading (or allocating) its voxels.

    ``channels`` is 1, or 3/4 for RGB(A). ``needed_bytes`` is what the header claims the voxels take once
    decoded, ``present_bytes`` an upper bound of what the file can hold (None where compression hides it).
    ``has_label`` says that the file also holds class numbers, which ``read_label`` gives.
    """

    grid: Grid
    dtype: str
    channels: int = 1
    needed_bytes: int = 0
    present_bytes: int | None = None
    has_label: bool = False


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
