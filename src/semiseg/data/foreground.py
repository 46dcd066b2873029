"""Where a label has foreground: a fixed sample of positions, to center patches on without a search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semiseg.data.labels import IGNORE

MOST = 10_000
"""Positions kept per case."""


def sample_foreground(label: NDArray[np.uint8], most: int = MOST) -> NDArray[np.int32]:
    """A deterministic, class-balanced sample of foreground voxels.

    Every class present gets an equal share, or all its voxels where it has fewer; what small classes leave
    over goes to the larger ones.

    Args:
        label: (T0, T1, T2) classes; 0 is background, 255 ignored.
        most: positions to keep.

    Returns:
        (N, 3) int32, N <= ``most``; class by class, ascending within a class. Empty without foreground.
    """
    counts = np.bincount(label.ravel(), minlength=256)
    classes = [k for k in np.flatnonzero(counts).tolist() if k not in (0, IGNORE)]
    rng = np.random.default_rng(0)
    shares = _shares({k: int(counts[k]) for k in classes}, most)
    chosen = []
    for k in classes:
        voxels = np.flatnonzero(label == k)
        if len(voxels) > shares[k]:
            voxels = np.sort(rng.choice(voxels, shares[k], replace=False))
        chosen.append(np.stack(np.unravel_index(voxels, label.shape), 1))
    return np.concatenate([np.empty((0, 3), np.int32), *chosen]).astype(np.int32)


def _shares(counts: dict[int, int], most: int) -> dict[int, int]:
    """Smallest class first: each takes at most an equal part of what is left."""
    shares, left = {}, most
    for position, (k, count) in enumerate(sorted(counts.items(), key=lambda item: item[1])):
        shares[k] = min(count, left // (len(counts) - position))
        left -= shares[k]
    return shares
