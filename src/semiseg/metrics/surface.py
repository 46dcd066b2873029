"""Surfaces of two masks and the distances between them, computed once and shared by every distance metric.

The definitions are MedPy's, which the semi-supervised literature uses: the border of a mask is its voxels
with a background *face* neighbor, outside the array is background, and a distance is Euclidean from voxel
center to the nearest border voxel center of the other mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Distances = NDArray[np.float64]

BOX_VOXELS_PER_POINT = 20
"""A k-d tree look-up costs about as much as the exact distance transform of this many voxels."""


class SurfaceDistances(NamedTuple):
    """Both directed sets of distances, in no particular order."""

    to_reference: Distances
    """From every border voxel of the prediction to the border of the reference."""
    to_prediction: Distances
    """From every border voxel of the reference to the border of the prediction."""


def joint_box(first: Mask, second: Mask) -> tuple[slice, ...] | None:
    """The smallest box that holds both masks, or None when both are empty.

    Nothing outside the box belongs to either mask, so that cropping to it changes no border and no distance.
    """
    left = first | second
    box = []
    for _ in range(left.ndim):  # an axis at a time; each leaves less to look at
        found = np.flatnonzero(left.reshape(len(left), -1).any(axis=1))
        if not found.size:
            return None
        box.append(slice(int(found[0]), int(found[-1]) + 1))
        left = np.logical_or.reduce(left[box[-1]], axis=0)
    return tuple(box)


def border(mask: Mask) -> Mask:
    """The voxels of ``mask`` with a background face neighbor; the edge of the array counts as background."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        inside, outside = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        inside[1:] &= outside[:-1]
        inside[:-1] &= outside[1:]
        inside[0] = False
        inside[-1] = False
    return mask ^ inner


def surface_distances(prediction: Mask, reference: Mask, spacing: Sequence[float]) -> SurfaceDistances:
    """Distances between the borders of two non-empty masks, exact in both directions.

    Args:
        prediction: (*S), two or three axes, not empty.
        reference: (*S), not empty.
        spacing: the distance between voxel centers along each axis; distances come in its unit.

    Returns:
        float64 distances, one for each border voxel.
    """
    box = joint_box(prediction, reference)
    if box is None:
        return SurfaceDistances(np.zeros(0), np.zeros(0))
    # One memory order for both: mixed orders make every step several times slower.
    ours = border(np.ascontiguousarray(prediction[box]))
    theirs = border(np.ascontiguousarray(reference[box]))
    shared = ours & theirs
    apart = int(np.count_nonzero(ours ^ theirs))
    # Few points in a large box are looked up one by one; many fill the box, and one sweep serves them all.
    directed = _by_tree if ours.size > BOX_VOXELS_PER_POINT * apart else _by_transform
    return SurfaceDistances(
        directed(ours, theirs, shared, spacing),
        directed(theirs, ours, shared, spacing),
    )


def _by_tree(source: Mask, target: Mask, shared: Mask, spacing: Sequence[float]) -> Distances:
    """Look every border voxel up in a k-d tree; voxels on both borders have distance 0 without a look-up."""
    from scipy.spatial import cKDTree

    scale = np.asarray(spacing, dtype=np.float64)
    points = _places(source & ~shared) * scale
    zeros = np.zeros(int(shared.sum()))
    if not len(points):
        return zeros
    # Large plain leaves: a tree for one batch of look-ups need not be balanced, and far points gain most.
    tree = cKDTree(_places(target) * scale, leafsize=32, balanced_tree=False, compact_nodes=False)
    return np.concatenate([zeros, np.atleast_1d(tree.query(points)[0])])


def _places(mask: Mask) -> NDArray[np.intp]:
    """``np.argwhere(mask)``, (N, axes), ten times faster."""
    return np.stack(np.unravel_index(np.flatnonzero(mask), mask.shape), axis=-1)


def _by_transform(source: Mask, target: Mask, shared: Mask, spacing: Sequence[float]) -> Distances:
    """Read the distances from the distance transform of the box."""
    return _transform(target, spacing)[source]


def _transform(target: Mask, spacing: Sequence[float]) -> Distances:
    """The distance of every voxel to the nearest voxel of ``target``."""
    try:
        from edt import edtsq
    except ImportError:
        from scipy.ndimage import distance_transform_edt

        exact: Distances = distance_transform_edt(~target, sampling=tuple(spacing))
        return exact
    # edt works in float32, which holds squares of whole numbers (and of 3.75 = 3.0 / 0.8) exactly: measure in
    # steps of the finest axis, and go to millimeters in float64.
    step = min(spacing)
    relative = tuple(s / step for s in spacing)
    squared: NDArray[Any] = edtsq(np.ascontiguousarray(~target), anisotropy=relative, parallel=1)
    root: Distances = np.sqrt(squared, dtype=np.float64) * step
    return root
