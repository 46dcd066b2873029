"""Gray-value statistics of many images, from a bounded sample of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE = 10_000
"""Voxels per image and channel that enter the statistics."""


@dataclass(frozen=True)
class Intensities:
    """Gray values of pooled voxels."""

    mean: float
    std: float
    median: float
    minimum: float
    maximum: float
    p005: float
    """0.5th percentile."""
    p995: float
    """99.5th percentile."""
    images: int
    """How many images the voxels come from."""


def pooled(samples: Sequence[NDArray[np.float32]]) -> Intensities | None:
    """Statistics of several images' samples; None where all are empty."""
    filled = [sample for sample in samples if sample.size]
    if not filled:
        return None
    voxels = np.concatenate(filled).astype(np.float64)
    low, median, high = np.percentile(voxels, [0.5, 50, 99.5])
    return Intensities(
        mean=float(voxels.mean()),
        std=float(voxels.std()),
        median=float(median),
        minimum=float(voxels.min()),
        maximum=float(voxels.max()),
        p005=float(low),
        p995=float(high),
        images=len(filled),
    )


def sample(voxels: NDArray[Any]) -> NDArray[np.float32]:
    """At most :data:`SAMPLE` of the finite values, the same ones every time."""
    finite = voxels[np.isfinite(voxels)] if voxels.dtype.kind == "f" else voxels
    if finite.size > SAMPLE:
        finite = np.random.default_rng(0).choice(finite, SAMPLE, replace=False)
    return finite.astype(np.float32)
