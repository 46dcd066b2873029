"""Looking at voxels: is there anything in this image, and which values does this label hold."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Voxels = NDArray[Any]

FEWEST_OF_A_MASK = 100
"""Masks with fewer foreground voxels are equal by chance too easily to tell of one acquisition."""


def non_finite(array: Voxels) -> str:
    """``12 NaN and 3 infinite voxels``, or an empty text when every voxel is a number."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return ""
    nan, inf = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    counts = [f"{count} {word}" for count, word in ((nan, "NaN"), (inf, "infinite")) if count]
    return f"{' and '.join(counts)} of {array.size} voxels"


def is_constant(array: Voxels) -> bool:
    """Whether all voxels are equal (NaN is equal to nothing)."""
    return array.size == 0 or bool((array == array.flat[0]).all())


def add_content(digest: hashlib._Hash, array: Voxels) -> None:
    """Add shape and values to a hash; the type they are stored with does not matter."""
    digest.update(repr(array.shape).encode())
    for part in array:  # one slab at a time: a float copy of the whole would double the memory
        digest.update(np.ascontiguousarray(part, dtype=np.float32).tobytes())


def mask_digest(array: Voxels) -> str | None:
    """Hash of a label map cropped to its foreground, so that padding and cropping of the scan do not matter.

    None where it has fewer than :data:`FEWEST_OF_A_MASK` foreground voxels or is a plain box.
    """
    foreground = array != 0
    if np.count_nonzero(foreground) < FEWEST_OF_A_MASK:
        return None
    box = []
    for axis in range(array.ndim):
        others = tuple(a for a in range(array.ndim) if a != axis)
        found = np.flatnonzero(foreground.any(axis=others))
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    cropped = array[tuple(box)]
    if is_constant(cropped):
        return None
    digest = hashlib.sha256()
    add_content(digest, cropped)
    return digest.hexdigest()


def value_counts(array: Voxels) -> tuple[dict[int, int], list[float]]:
    """Whole values with their voxel counts, and up to five values that are not whole numbers."""
    odd: list[float] = []
    if array.dtype.kind == "f":
        whole = np.rint(array)
        good = np.isfinite(array) & (array == whole)  # exactly, as training wants it
        if not good.all():
            odd = [float(value) for value in np.unique(array[~good])[:5]]
        array = whole[good].astype(np.int64)
    if array.size == 0:
        return {}, odd
    low, high = int(array.min()), int(array.max())
    if high - low < 1 << 16:
        counts = np.bincount(array.ravel().astype(np.int64) - low)
        return {low + int(i): int(counts[i]) for i in np.flatnonzero(counts)}, odd
    values, times = np.unique(array, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, times, strict=True)}, odd


def histogram(counts: dict[int, int], most: int = 8) -> str:
    """``0: 1200, 255: 33``, shortened when there are many values."""
    shown = ", ".join(f"{value}: {count}" for value, count in list(counts.items())[:most])
    return shown + (f" and {len(counts) - most} more" if len(counts) > most else "")
