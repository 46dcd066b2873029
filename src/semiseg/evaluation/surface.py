"""Surfaces of two masks and the distances between them, computed once and shared by every distance metric.

The definitions are MedPy's, which the semi-supervised literature uses: the border of a mask is its voxels
with a background *face* neighbor, outside the array is background, and a distance is Euclidean from voxel
center to the nearest border voxel center of the other mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Distances = NDArray[np.float64]
Points = NDArray[np.float64]
"""(N, axes)."""

PROBES = 128
"""Look-ups that tell how far apart the surfaces are, before the rest are made."""


class Costs(NamedTuple):
    """Nanoseconds, fitted by ``benchmarks/surface_rule.py``; only their ratios matter."""

    look_up: float
    """Of a border point in a k-d tree of points right beside it."""
    per_voxel_away: float
    """More, for each voxel that it is away: the search visits all of the surface that is nearly as near."""


TREES = {"pykdtree": Costs(250, 60), "scipy": Costs(580, 77)}
TRANSFORMS = {"edt": 34.0, "scipy": 72.0}
"""Of a voxel of the box in an exact distance transform."""


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
    """Distances between the borders of two masks (*S), exact in both directions, one for each border voxel.

    ``spacing`` is the distance between voxel centers along each axis; distances come in its unit.
    """
    box = joint_box(prediction, reference)
    if box is None:
        return SurfaceDistances(np.zeros(0), np.zeros(0))
    return distances_in_box(prediction[box], reference[box], spacing)


def distances_in_box(prediction: Mask, reference: Mask, spacing: Sequence[float]) -> SurfaceDistances:
    """As :func:`surface_distances`, for masks that are cropped already."""
    # One memory order for both: mixed orders make every step several times slower.
    ours = border(np.ascontiguousarray(prediction))
    theirs = border(np.ascontiguousarray(reference))
    from_ours, from_theirs = border_points(ours, spacing), border_points(theirs, spacing)
    shared_ours, shared_theirs = theirs[ours], ours[theirs]
    return SurfaceDistances(
        _directed(from_ours, shared_ours, from_theirs, theirs, ours, spacing),
        _directed(from_theirs, shared_theirs, from_ours, ours, theirs, spacing),
    )


def _directed(
    source: Points,
    shared: Mask,
    target: Points,
    target_mask: Mask,
    source_mask: Mask,
    spacing: Sequence[float],
) -> Distances:
    """From each border voxel to the other border; on both borders it is 0 without a look-up."""
    points = source[~shared]
    if not len(points):
        return np.zeros(len(source))
    search = nearest(target)
    probes = search(points[:: max(1, len(points) // PROBES)])
    if tree_is_cheaper(len(points), float(probes.mean()) / min(spacing), target_mask.size):
        return np.concatenate([np.zeros(len(source) - len(points)), search(points)])
    squared, step = squared_transform(target_mask, spacing)
    swept: Distances = np.sqrt(squared[source_mask], dtype=np.float64) * step
    return swept


def tree_is_cheaper(points: int, voxels_away: float, box_voxels: int) -> bool:
    """Few or near points are looked up one by one; many far ones fill the box: one sweep serves them all."""
    tree = TREES["pykdtree" if _installed("pykdtree") else "scipy"]
    voxel = TRANSFORMS["edt" if _installed("edt") else "scipy"]
    return points * (tree.look_up + tree.per_voxel_away * voxels_away) <= voxel * box_voxels


def border_points(mask: Mask, spacing: Sequence[float]) -> Points:
    """Where the voxels of a border are, (N, axes) in the unit of ``spacing``, in raster order."""
    places = np.unravel_index(np.flatnonzero(mask), mask.shape)
    return np.stack([place * float(step) for place, step in zip(places, spacing, strict=True)], 1)


def nearest(target: Points) -> Callable[[Points], Distances]:
    """A function from points to their distances to the nearest point of ``target``, by a k-d tree."""
    try:
        from pykdtree.kdtree import KDTree  # about twice as fast; optional because of its license
    except ImportError:
        from scipy.spatial import cKDTree

        # Large plain leaves: a tree for one batch of look-ups need not be balanced, and far points gain most.
        plain = cKDTree(target, leafsize=48, balanced_tree=False, compact_nodes=False)
        return lambda points: np.atleast_1d(plain.query(points)[0])
    tree = KDTree(target, leafsize=16)

    def search(points: Points) -> Distances:
        found: Distances = tree.query(points)[0]
        return found

    return search


def squared_transform(target: Mask, spacing: Sequence[float]) -> tuple[NDArray[Any], float]:
    """The squared distance of every voxel to the nearest voxel of ``target``, in steps; and the step."""
    outside = ~np.ascontiguousarray(target)
    try:
        from edt import edtsq
    except ImportError:
        from scipy.ndimage import distance_transform_edt

        exact: Distances = distance_transform_edt(outside, sampling=tuple(spacing))
        return np.square(exact, out=exact), 1.0
    # edt works in float32, which holds squares of whole numbers (and of 3.75 = 3.0 / 0.8) exactly: measure in
    # steps of the finest axis, and go to millimeters in float64. Bytes are faster than bools there.
    step = min(spacing)
    relative = tuple(s / step for s in spacing)
    squared: NDArray[Any] = edtsq(outside.view(np.uint8), anisotropy=relative, parallel=1)
    return squared, step


def _installed(package: str) -> bool:
    return find_spec(package) is not None
