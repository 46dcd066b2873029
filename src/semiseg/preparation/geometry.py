"""From the scanner's grid to the stored grid and back: turning, cropping and sizes, all in index space.

A scan is only ever flipped and permuted, so an oblique or sheared affine stays untouched in ``source`` and
the way back is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError
from semiseg.images.grid import Grid
from semiseg.preparation.plan import Plan

Shape = tuple[int, int, int]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Geometry:
    """How one scan was laid out, enough to bring anything computed on it back to the scan's own voxels.

    Attributes:
        source: the grid of the files, two or three axes.
        order: stored axis i is source axis ``order[i]``; a plain 2D image has a third axis of length 1.
        flips: whether stored axis i runs against its source axis.
        box: first and one-past-last voxel kept by the crop, per stored axis, before resampling.
        shape: the stored shape, after resampling.
    """

    source: Grid
    order: Shape
    flips: tuple[bool, bool, bool]
    box: Box
    shape: Shape

    @property
    def turned_shape(self) -> Shape:
        """Voxels per stored axis before the crop."""
        full = _three(self.source.shape)
        return (full[self.order[0]], full[self.order[1]], full[self.order[2]])

    @property
    def cropped_shape(self) -> Shape:
        """Voxels per stored axis after the crop, before resampling."""
        (a, b), (c, d), (e, f) = self.box
        return (b - a, d - c, f - e)

    @property
    def source_spacing(self) -> tuple[float, float, float]:
        """Millimeters per stored axis before resampling."""
        return turned_spacing(self.source, self.order)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimeters between stored voxels: the target up to whole numbers of voxels."""
        parts = zip(self.source_spacing, self.cropped_shape, self.shape, strict=True)
        return cast(tuple[float, float, float], tuple(mm * n / m for mm, n, m in parts))

    @property
    def resampled(self) -> bool:
        """Whether the stored voxels differ from the source's."""
        return self.shape != self.cropped_shape

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of ``array`` (*S) with the stored axes, uncropped: (T0, T1, T2)."""
        full = array.reshape(_three(array.shape)).transpose(self.order)
        return full[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def turn_back(self, array: NDArray[Any]) -> NDArray[Any]:
        """The inverse of :meth:`turn`: a view of an uncropped (T0, T1, T2) array with the axes (*S)."""
        flipped = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return flipped.transpose(np.argsort(self.order)).reshape(self.source.shape)

    def crop(self, array: NDArray[Any]) -> NDArray[Any]:
        """The part of a turned array inside the box, as a view."""
        return array[tuple(slice(start, stop) for start, stop in self.box)]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "source_shape": list(self.source.shape),
            "source_affine": self.source.affine.tolist(),
            "source_unit": self.source.unit,
            "order": list(self.order),
            "flips": list(self.flips),
            "box": [list(ends) for ends in self.box],
            "shape": list(self.shape),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What :meth:`as_dict` wrote."""
        affine = np.array(values["source_affine"], np.float64)
        return cls(
            source=Grid(tuple(values["source_shape"]), affine, values.get("source_unit", "mm")),
            order=tuple(values["order"]),
            flips=tuple(values["flips"]),
            box=cast(Box, tuple((a, b) for a, b in values["box"])),
            shape=tuple(values["shape"]),
        )


def lay_out(grid: Grid, plan: Plan, box: Box | None = None) -> Geometry:
    """The geometry that ``plan`` gives a scan on ``grid``; without a crop it follows from these two alone.

    Args:
        grid: two or three axes.
        plan: orientation, axes and target spacing.
        box: what the crop keeps, per stored axis; everything by default.

    Raises:
        DataError: a 2D image under a 3D plan, or an affine that no orientation can be read from.
    """
    if len(grid.shape) == 2 and plan.dim == 3:
        raise DataError(
            f"a 2D image of {grid.shape} voxels does not fit a plan with dim 3",
            hint="plan again with dim 2, or give volumes",
            code="NOT_3D",
        )
    order, flips = _turning(grid, plan)
    full = _three(grid.shape)
    inside = box or cast(Box, tuple((0, full[axis]) for axis in order))
    sizes = [stop - start for start, stop in inside]
    spacing = turned_spacing(grid, order)
    shape = tuple(
        stored_size(n, mm, target) for n, mm, target in zip(sizes, spacing, plan.spacing, strict=True)
    )
    return Geometry(grid, order, flips, inside, cast(Shape, shape))


def stored_size(size: int, spacing: float, target: float | None) -> int:
    """Voxels along an axis after resampling from ``spacing`` to ``target`` mm, at least one."""
    if target is None:
        return size
    return max(1, int(np.floor(size * spacing / target + 0.5)))


def orientation(grid: Grid) -> tuple[Shape, tuple[bool, bool, bool]]:
    """Which source axis runs along R, A and S, and whether backwards (the nearest match where oblique)."""
    from nibabel.orientations import io_orientation

    found = io_orientation(grid.affine)  # type: ignore[no-untyped-call]
    if not np.isfinite(found).all() or min(turned_spacing(grid, (0, 1, 2))) <= 0:
        raise DataError(
            f"cannot read an orientation from the affine {grid.affine.tolist()}",
            hint="fix the file's sform or qform, or use orientation: native in the plan",
            code="AFFINE",
        )
    order = np.argsort(found[:, 0])
    flips = found[order, 1] < 0
    return ((int(order[0]), int(order[1]), int(order[2])), (bool(flips[0]), bool(flips[1]), bool(flips[2])))


def turned_spacing(grid: Grid, order: Sequence[int]) -> tuple[float, float, float]:
    """Millimeters per axis of ``grid``, axes taken in ``order``; 1 mm along an axis that the grid lacks."""
    mm = (*grid.spacing, 1.0)
    return (mm[order[0]], mm[order[1]], mm[order[2]])


def _turning(grid: Grid, plan: Plan) -> tuple[Shape, tuple[bool, bool, bool]]:
    if len(grid.shape) == 2:  # a photograph has no anatomical axes: kept as it is, one slice
        return (2, 0, 1), (False, False, False)
    order, flips = (0, 1, 2), (False, False, False)
    if plan.orientation == "RAS":
        order, flips = orientation(grid)
    a, b, c = plan.axes
    return (order[a], order[b], order[c]), (flips[a], flips[b], flips[c])


def _three(shape: Sequence[int]) -> Shape:
    full = (*shape, 1) if len(shape) == 2 else tuple(shape)
    if len(full) != 3:
        raise DataError(
            f"got an array of shape {tuple(shape)}, wanted two or three axes",
            hint="give one 2D or 3D image per channel",
            code="NOT_3D",
        )
    return full
