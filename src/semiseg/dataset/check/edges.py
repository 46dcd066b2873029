"""How the labels of a scan lie on its edges, without a model."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.case import LabeledCase
from semiseg.dataset.problem import Finding
from semiseg.images import read_header, read_label
from semiseg.images.grid import Volume, turned
from semiseg.inference.postprocess import box_of

NEAR = 3
"""Voxels around a label that it is compared with."""
MOST_VOXELS = 1 << 21
"""Of a larger label a slab through its middle is looked at."""
FEWEST = 100
"""Labels with fewer voxels say nothing."""

Voxels = NDArray[Any]


def fit(image: Voxels, label: Voxels) -> float:
    """How well a label follows the edges of a scan, and tells its gray values apart.

    The logarithm of the ratio between the mean steps of gray values across and beside the label's border,
    plus the share of their variance that the classes explain (the correlation ratio), both near the label.

    Args:
        image: (*S).
        label: (*S), class numbers.

    Returns:
        about 0 for a label of somewhere else, 0.3 to 1.5 for one of this scan; NaN where it says nothing.
    """
    if image.shape != label.shape or np.count_nonzero(label) < FEWEST:
        return float("nan")
    box = label_box(label)
    classes, values = label[box], image[box].astype(np.float32)
    if not np.isfinite(values).all():
        return float("nan")
    near = grown(classes != 0)
    across, beside = np.zeros(2), np.zeros(2)  # sum and count of steps
    for axis in range(classes.ndim):
        low, high = ends(axis, classes.ndim)
        steps = np.abs(values[high] - values[low])
        border = classes[high] != classes[low]
        around = near[high] & near[low] & ~border
        across += steps[border].sum(dtype=np.float64), np.count_nonzero(border)
        beside += steps[around].sum(dtype=np.float64), np.count_nonzero(around)
    if not across.all() or not beside.all():
        return float("nan")
    return float(np.log(across[0] / across[1] * beside[1] / beside[0])) + _explained(
        values[near], classes[near]
    )


def _explained(values: Voxels, classes: Voxels) -> float:
    """The correlation ratio: variance between classes over variance of all."""
    _, number = np.unique(classes, return_inverse=True)
    values = values.astype(np.float64)
    values -= values.mean()
    sums, counts = np.bincount(number, values), np.bincount(number)
    total = float((values**2).sum())
    return float((sums**2 / counts).sum()) / total if total else 0.0


def label_box(label: Voxels) -> tuple[slice, ...]:
    """Around the label; of a large one a slab across its longest axis."""
    inside = box_of(label != 0) or ()
    box = [
        slice(max(b.start - NEAR, 0), min(b.stop + NEAR, n)) for b, n in zip(inside, label.shape, strict=True)
    ]
    lengths = [part.stop - part.start for part in box]
    if (voxels := int(np.prod(lengths))) > MOST_VOXELS:
        axis = int(np.argmax(lengths))
        keep = max(1, lengths[axis] * MOST_VOXELS // voxels)
        start = box[axis].start + (lengths[axis] - keep) // 2
        box[axis] = slice(start, start + keep)
    return tuple(box)


def grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and all voxels within :data:`NEAR` steps of it."""
    from scipy import ndimage

    grown: NDArray[np.bool_] = ndimage.binary_dilation(mask, iterations=NEAR)
    return grown


def ends(axis: int, axes: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """All voxels but the last along an axis, and all but the first."""
    return (
        tuple(slice(0, -1) if a == axis else slice(None) for a in range(axes)),
        tuple(slice(1, None) if a == axis else slice(None) for a in range(axes)),
    )


def gray(volume: Volume) -> Voxels:
    """The voxels (*S), of colors the mean."""
    array = volume.array
    return array if array.ndim == len(volume.grid.shape) else array.mean(axis=-1, dtype=np.float32)


def label_on_scan(finding: Finding) -> Voxels:
    """The label as it lies on its scan, in the smallest type: those of several cases are held at once."""
    case = cast(LabeledCase, finding.case)
    volume = read_label(case.label)
    seen = turned(volume.array, volume.grid, read_header(case.images[0]).grid)
    array = volume.array if seen is None else seen
    kinds = (np.min_scalar_type(int(end)) for end in (array.min(), array.max()))
    return array.astype(np.promote_types(*kinds))
