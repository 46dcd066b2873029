"""The planes of a volume to label where a whole scan is too much: those of which a model is least certain.

A label of these alone holds the dataset's ``ignore`` value elsewhere, which losses and metrics leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.dataset import Dataset
from semiseg.errors import DataError, UsageError
from semiseg.images.grid import Grid

COUNT = 3
"""Planes of a scan."""
THICK = 3.0
"""Largest by smallest voxel spacing from which only planes across the thick axis are read."""
NAMES = ("sagittal", "coronal", "axial")
"""Of planes across the patient's axes R, A, S."""

Array = NDArray[Any]


@dataclass(frozen=True)
class PlaneToLabel:
    """One plane of a volume.

    Attributes:
        axis: of the file, across which it lies.
        index: of its voxels along this axis, from 0.
        name: sagittal, coronal or axial, whichever it is nearest to.
        score: mean entropy (0 to 1) of its voxels; None without a model.
        at: the place in it that is doubted most, mm (RAS+); without a model its middle.
    """

    axis: int
    index: int
    name: str
    score: float | None
    at: tuple[float, float, float]

    def __str__(self) -> str:
        return f"{self.name} {self.index + 1}"


def planes_to_label(grid: Grid, entropy: Array | None = None, count: int = COUNT) -> list[PlaneToLabel]:
    """The planes of a volume that are most worth a label; none of a picture.

    One across each axis, that of the most entropy; of a scan with thick slices, ``count`` slices, each apart
    from the others by at least a ``2 count``-th of the scan. Without ``entropy``, they lie evenly.

    Args:
        grid: of the scan.
        entropy: (*S) on this grid, or None.
        count: planes of a scan with thick slices.
    """
    if len(grid.shape) != 3:
        return []
    spacing = np.asarray(grid.spacing)
    if spacing.max() / spacing.min() >= THICK:
        thick = int(spacing.argmax())
        chosen = [(thick, index) for index in _slices(_profile(entropy, thick), grid.shape[thick], count)]
    else:
        chosen = [(axis, _slices(_profile(entropy, axis), grid.shape[axis], 1)[0]) for axis in range(3)]
    return [_told(grid, entropy, axis, index) for axis, index in chosen]


def masked(label: Array, planes: Sequence[tuple[int, int]], dataset: Dataset) -> Array:
    """A label map with ``ignore`` outside of the planes (axis, index).

    Raises:
        UsageError: the dataset has no ``ignore`` label, or a plane lies outside of the label.
    """
    value = ignore_of(dataset)
    inside = np.zeros(label.shape, bool)
    for axis, index in planes:
        if not 0 <= axis < label.ndim or not 0 <= index < label.shape[axis]:
            raise UsageError(
                f"no plane {index} across axis {axis} of {' x '.join(map(str, label.shape))} voxels",
                hint="the planes that `semiseg next --slices` names",
                code="BAD_PLANE",
            )
        inside[(slice(None),) * axis + (index,)] = True
    kind = np.promote_types(label.dtype, np.min_scalar_type(value))
    found: Array = label.astype(kind)
    found[~inside] = value
    return found


def ignore_of(dataset: Dataset) -> int:
    """The value of voxels that nobody has looked at.

    Raises:
        DataError: the dataset has none.
    """
    if dataset.ignore_value is None:
        free = max(dataset.labels.values(), default=0) + 1
        raise DataError(
            f"{dataset.root}: a label of single slices needs an ignore label, there is none",
            hint=f'add "ignore": {free} to labels in dataset.json',
            code="NO_IGNORE",
        )
    return dataset.ignore_value


def _profile(entropy: Array | None, axis: int) -> Array | None:
    if entropy is None:
        return None
    return np.asarray(entropy.mean(tuple(i for i in range(entropy.ndim) if i != axis), dtype=np.float64))


def _slices(profile: Array | None, n: int, count: int) -> list[int]:
    """The highest values, in order of place, with a gap between any two; evenly spread without values."""
    count = min(count, n)
    if profile is None:
        return [int((i + 0.5) * n / count) for i in range(count)]
    gap = max(1, n // (2 * count))
    chosen: list[int] = []
    for index in np.argsort(-profile, kind="stable").tolist():
        if len(chosen) < count and all(abs(index - other) >= gap for other in chosen):
            chosen.append(int(index))
    return sorted(chosen)


def _told(grid: Grid, entropy: Array | None, axis: int, index: int) -> PlaneToLabel:
    voxel = [n // 2 for n in grid.shape]
    score = None
    if entropy is not None:
        plane = np.take(entropy, index, axis)
        score = round(float(plane.mean(dtype=np.float64)), 6)
        voxel = [int(i) for i in np.unravel_index(int(plane.argmax()), plane.shape)]
        voxel.insert(axis, index)
    voxel[axis] = index
    x, y, z = (grid.affine @ [*voxel, 1.0])[:3]
    name = NAMES[int(np.abs(grid.affine[:3, axis]).argmax())]
    return PlaneToLabel(axis, index, name, score, (round(x, 3), round(y, 3), round(z, 3)))
