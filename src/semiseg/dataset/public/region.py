"""A scan cut to the surroundings of its mask and resampled to 1 mm, as some published protocols have it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from semiseg.dataset.adopt.draft import Step
from semiseg.dataset.adopt.grids import Resampled
from semiseg.images.grid import Grid, Volume

_IN_PLANE = 2


@dataclass(frozen=True)
class Cropped:
    """The voxels inside a box, on their part of the grid."""

    box: tuple[slice, ...]

    def __call__(self, volume: Volume) -> Volume:
        """The part of the volume, which stays where it lies."""
        return replace(volume, array=volume.array[self.box], grid=_part(volume.grid, self.box))


def around(
    grid: Grid, mask: tuple[slice, ...], margin: float, size: float = 1.0
) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Steps of scan and label: cut in plane to the mask's box and ``margin`` mm, then ``size`` mm voxels."""
    box = tuple(
        _widened(one, margin / step, count) if axis < _IN_PLANE else slice(0, count)
        for axis, (one, step, count) in enumerate(zip(mask, grid.spacing, grid.shape, strict=True))
    )
    part = _part(grid, box)
    affine = part.affine.copy()
    affine[:3, :3] *= size / np.array(part.spacing)
    shape = tuple(max(1, round(n * s / size)) for n, s in zip(part.shape, part.spacing, strict=True))
    fine = Grid(shape, affine)
    return (Cropped(box), Resampled(fine)), (Cropped(box), Resampled(fine, nearest=True))


def _widened(one: slice, margin: float, count: int) -> slice:
    return slice(max(0, int(one.start - margin)), min(count, int(np.ceil(one.stop + margin))))


def _part(grid: Grid, box: tuple[slice, ...]) -> Grid:
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([one.start for one in box])
    return Grid(tuple(one.stop - one.start for one in box), affine, grid.unit)
