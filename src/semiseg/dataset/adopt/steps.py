"""What is done to a volume between its file and the dataset, as :attr:`Source.steps` lists it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from semiseg.dataset.adopt.draft import Source
from semiseg.dataset.adopt.looks import load
from semiseg.errors import DataError, UsageError
from semiseg.images.grid import Grid, Volume, scaling


@dataclass(frozen=True)
class Sized:
    """Voxels of a known size (mm along the axes) that the file does not say, or says wrongly."""

    spacing: tuple[float, ...]
    only_unknown: bool = False
    """Leave volumes alone whose file says a size."""

    def __call__(self, volume: Volume) -> Volume:
        """The same voxels in the same directions, this far apart."""
        if self.only_unknown and volume.grid.unit == "mm":
            return volume
        if len(self.spacing) != len(volume.grid.shape):
            raise UsageError(
                f"a spacing of {len(self.spacing)} numbers for scans of {len(volume.grid.shape)} axes",
                hint="give one number per axis, in mm",
                code="SPACING",
            )
        affine = volume.grid.affine.copy()
        axes = len(self.spacing)
        affine[:3, :axes] *= np.array(self.spacing) / np.array(volume.grid.spacing)
        return replace(volume, grid=Grid(volume.grid.shape, affine))


@dataclass(frozen=True)
class Reordered:
    """Axes in another order; position and direction are lost, so this is for files that have none."""

    axes: tuple[int, ...]

    def __call__(self, volume: Volume) -> Volume:
        """The array with its axes in this order, on an upright grid of the same unit."""
        spacing = [volume.grid.spacing[axis] for axis in self.axes]
        array = np.ascontiguousarray(volume.array.transpose(self.axes))
        return replace(volume, array=array, grid=Grid(array.shape, scaling(spacing), volume.grid.unit))


@dataclass(frozen=True)
class LaidOn:
    """An array whose own place is not to be trusted, flipped and laid on the grid of its scan."""

    grid: Grid
    flips: tuple[int, ...] = ()

    def __call__(self, volume: Volume) -> Volume:
        """The flipped array on the grid.

        Raises:
            DataError: another shape.
        """
        if volume.array.shape != self.grid.shape:
            raise DataError(
                f"a label of {_times(volume.array.shape)} voxels for a scan of {_times(self.grid.shape)}",
                hint="look for the label of another release, or for slices that are missing",
                code="GEOMETRY",
            )
        array = np.ascontiguousarray(np.flip(volume.array, self.flips))
        return replace(volume, array=array, grid=self.grid)


@dataclass(frozen=True)
class Painted:
    """A second mask of the same scan, painted where the first one has nothing."""

    other: Source
    value: int

    def __call__(self, volume: Volume) -> Volume:
        """The label with the second mask as one more value.

        Raises:
            DataError: the second mask has another shape.
        """
        more = load(self.other, label=True).array
        if more.shape != volume.array.shape:
            shapes = f"{_times(more.shape)} voxels beside a label of {_times(volume.array.shape)}"
            raise DataError(
                f"{self.other.shown}: {shapes}",
                hint="look for the mask of the same scan",
                code="GEOMETRY",
            )
        return replace(volume, array=np.where((volume.array == 0) & (more > 0), self.value, volume.array))


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
