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

TIE = 1e-5
"""Shares that differ by no more are equal: a tie stays a tie whatever the rounding."""


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
        (*shape) uint8 with no value that ``array`` lacks. Ties are shared out evenly (:class:`Winners`): when
        voxels double, half-filled ones are many, and whichever value took them all would grow.
    """
    if tuple(shape) == array.shape:
        return np.ascontiguousarray(array)
    a, b, c = (
        "area" if new < old and kernel == "linear" else kernel
        for new, old, kernel in zip(shape, array.shape, kernels, strict=True)
    )
    kernels = (a, b, c)
    winners = Winners(tuple(shape))
    out = np.zeros(tuple(shape), np.uint8)
    for value in np.flatnonzero(np.bincount(array.ravel(), minlength=256)):
        share = resample((array == value).astype(np.float32), shape, kernels)
        out[winners.take(share)] = value
    return out


class Winners:
    """The value with the largest share of each voxel, of values that come one after another.

    Of n equal shares each wins in one voxel of n, drawn from the voxel's position: no value is preferred,
    the surface between two of them stays where it is on average, and the same input gives the same result.

    Args:
        shape: of the map, or of a piece of it.
        start: how many voxels of the whole map lie before this piece.
    """

    def __init__(self, shape: Sequence[int], start: int = 0) -> None:
        self._best = np.full(shape, -np.inf, np.float32)
        self._equal = np.ones(shape, np.uint8)
        self._start = start

    def take(self, share: Image) -> NDArray[np.bool_]:
        """Where the next value wins over all before it."""
        ahead = share - self._best
        wins: NDArray[np.bool_] = ahead > TIE
        ties = ahead >= -TIE
        ties ^= wins
        np.copyto(self._best, share, where=wins)
        self._equal[wins] = 1
        if ties.any():
            self._equal[ties] += 1
            wins[ties] = _drawn(np.flatnonzero(ties) + self._start, self._equal[ties])
        return wins


def _drawn(position: NDArray[np.int64], one_of: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """True in one of so many cases, at random but the same for the same position (a SplitMix64 hash)."""
    mixed = (position.astype(np.uint64) << np.uint64(8)) + one_of  # another draw for each further value
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    drawn: NDArray[np.bool_] = (mixed >> np.uint64(11)) % one_of == 0
    return drawn


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
