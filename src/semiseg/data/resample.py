"""Changing the voxel size: one sparse matrix per axis, so that every result is exact, fast and repeatable.

Voxel centers lie half a voxel inside the corners of the volume, and the corners of both grids agree. When
voxels grow, the filters are stretched by the same factor, so nothing finer than the new grid can fold back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Kernel = Literal["nearest", "area", "linear", "cubic"]
Kernels = tuple[Kernel, Kernel, Kernel]
Image = NDArray[np.float32]
Weights = NDArray[np.float64]

ANISOTROPIC = 3.0
"""An axis whose voxels are this much longer than both others' holds separate slices (nnU-Net's rule)."""


def kernels_for(
    spacing: Sequence[float], before: Sequence[int], after: Sequence[int], smooth: Kernel
) -> Kernels:
    """The filter per axis: ``smooth``, but nearest between far-apart slices, where nothing is known.

    Slices that are merged (fewer after than before) are always averaged.
    """

    def choose(axis: int) -> Kernel:
        others = [mm for other, mm in enumerate(spacing) if other != axis]
        separate = spacing[axis] > ANISOTROPIC * max(others)
        return "nearest" if separate and after[axis] > before[axis] else smooth

    return (choose(0), choose(1), choose(2))


def resample(array: Image, shape: Sequence[int], kernels: Kernels) -> Image:
    """Resample a volume to another number of voxels over the same extent.

    Args:
        array: (T0, T1, T2).
        shape: the new sizes; an axis that keeps its size is left alone, bit for bit.
        kernels: the filter along each axis; cubic is the Catmull-Rom spline (Keys, IEEE Trans. ASSP 1981,
            doi:10.1109/TASSP.1981.1163711), which may overshoot.

    Returns:
        (*shape) float32, C-contiguous.
    """
    out = np.ascontiguousarray(array, np.float32)
    for axis in resampling_order(array.shape, shape):
        out = apply_weights(out, axis, axis_weights(array.shape[axis], shape[axis], kernels[axis]))
    return out


def resampling_order(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """The axes whose size changes, those that shrink first: the rest then has less to do."""
    order = sorted(range(3), key=lambda axis: after[axis] / before[axis])
    return [axis for axis in order if before[axis] != after[axis]]


def resample_classes(array: NDArray[np.uint8], shape: Sequence[int], kernels: Kernels) -> NDArray[np.uint8]:
    """Resample a label map: each value's indicator on its own, then the value with the largest share.

    Voxels that grow take the value that fills most of their own volume; wider filters would shave off
    whatever is convex or thin.

    Args:
        array: (T0, T1, T2), any values.
        shape: the new sizes.
        kernels: linear or nearest along each axis.

    Returns:
        (*shape) uint8 with no value that ``array`` lacks. The largest value wins a tie: when voxels double,
        half-filled ones are many, and a structure would lose its rim if background took them.
    """
    if tuple(shape) == array.shape:
        return np.ascontiguousarray(array)
    a, b, c = (
        "area" if new < old and kernel == "linear" else kernel
        for new, old, kernel in zip(shape, array.shape, kernels, strict=True)
    )
    kernels = (a, b, c)
    best = np.full(tuple(shape), -1.0, np.float32)
    out = np.zeros(tuple(shape), np.uint8)
    for value in np.flatnonzero(np.bincount(array.ravel(), minlength=256)):
        share = resample((array == value).astype(np.float32), shape, kernels)
        wins = share >= best - 1e-5  # a tie stays a tie whatever the rounding
        best[wins] = share[wins]
        out[wins] = value
    return out


def apply_weights(array: Image, axis: int, weights: csr_matrix) -> Image:
    """Resample one axis of a volume with a matrix (new, old) of that axis."""
    first = np.ascontiguousarray(np.moveaxis(array, axis, 0))
    mixed = weights @ first.reshape(first.shape[0], -1)
    return np.ascontiguousarray(
        np.moveaxis(mixed.reshape(weights.shape[0], *first.shape[1:]), 0, axis), np.float32
    )


@lru_cache(maxsize=64)
def axis_weights(before: int, after: int, kernel: Kernel) -> csr_matrix:
    """The (after, before) matrix that resamples one axis; each row sums to one, edges are repeated."""
    from scipy.sparse import coo_matrix

    scale = before / after
    centers: Weights = (np.arange(after, dtype=np.float64) + 0.5) * scale - 0.5
    if kernel == "nearest":
        index = np.floor(centers + 0.5)[:, None]
        weight = np.ones_like(index)
    elif kernel == "area":
        index, weight = _overlap(before, after)
    else:
        index, weight = _filter(centers, max(scale, 1.0), kernel)
    index = np.clip(index, 0, before - 1)
    rows = np.repeat(np.arange(after), index.shape[1])
    entries = (weight.ravel().astype(np.float32), (rows, index.ravel().astype(np.int64)))
    return coo_matrix(entries, shape=(after, before)).tocsr()


def _overlap(before: int, after: int) -> tuple[Weights, Weights]:
    """How much of each new voxel every old one fills."""
    scale = before / after
    start: Weights = np.arange(after, dtype=np.float64)[:, None] * scale
    index: Weights = np.floor(start) + np.arange(int(np.ceil(scale)) + 1, dtype=np.float64)
    weight: Weights = (
        np.clip(np.minimum(index + 1, start + scale) - np.maximum(index, start), 0, None) / scale
    )
    return index, weight


def _filter(centers: Weights, stretch: float, kernel: Kernel) -> tuple[Weights, Weights]:
    radius = stretch * (1 if kernel == "linear" else 2)
    index: Weights = np.floor(centers - radius)[:, None] + np.arange(1.0, np.ceil(2 * radius) + 2)
    weight = _profile((index - centers[:, None]) / stretch, kernel)
    return index, weight / weight.sum(1, keepdims=True)


def _profile(distance: NDArray[np.float64], kernel: Kernel) -> Weights:
    x = np.abs(distance)
    if kernel == "linear":
        hat: Weights = np.clip(1 - x, 0, None)
        return hat
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    profile: Weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return profile
