"""What a scan looks like, in 150 numbers per channel: the distribution of its gray values and where they lie,
without their scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

QUANTILES = tuple(np.linspace(2.5, 97.5, 20).tolist())
"""Percent, of a profile; 5 % and 95 % lie within half a step of two of them."""

CELLS = 5
"""Cells of a picture along each axis."""

VOXELS = {2: 128, 3: 32}
"""Voxels per axis that are looked at, evenly spread, of an image with so many axes."""


@dataclass(frozen=True)
class Look:
    """One channel of one scan."""

    dark: float
    """5th percentile of its gray values."""
    bright: float
    """95th percentile."""
    profile: NDArray[np.float64]
    """(20,) quantiles in standard deviations from the mean."""
    rough: NDArray[np.float64]
    """Per axis: mean difference of neighbors among some 30 voxels from end to end, in standard deviations."""
    picture: NDArray[np.float64]
    """(125,), of a 2D image (25,): means of cells in standard deviations from the mean."""

    @classmethod
    def of(cls, channel: NDArray[Any]) -> Self:
        """Measure a channel, turned as :func:`semiseg.preparation.unlike.turn` does."""
        some = _thinned(channel)
        finite = some[np.isfinite(some)]
        if not finite.size:
            finite = np.zeros(1)
        mean, std = float(finite.mean()), float(finite.std()) or 1.0
        dark, bright = np.percentile(finite, [5, 95])
        scaled = np.nan_to_num((some - mean) / std, posinf=0.0, neginf=0.0)
        profile = (np.percentile(finite, QUANTILES) - mean) / std
        steps = (np.abs(np.diff(scaled, axis=axis)) for axis in range(scaled.ndim))
        rough = np.array([float(step.mean()) if step.size else 0.0 for step in steps])
        return cls(float(dark), float(bright), profile, rough, _cells(scaled).ravel())

    def as_row(self) -> tuple[float, ...]:
        """For JSON, with the digits that count."""
        row = (self.dark, self.bright, len(self.rough), *self.rough, *self.profile, *self.picture)
        return tuple(float(f"{value:.5g}") for value in row)

    @classmethod
    def from_row(cls, row: Sequence[float]) -> Self:
        """What :meth:`as_row` gave."""
        rough = 3 + int(row[2])
        profile = rough + len(QUANTILES)
        parts = (row[3:rough], row[rough:profile], row[profile:])
        axes, quantiles, cells = (np.array(part) for part in parts)
        return cls(row[0], row[1], quantiles, axes, cells)


def _thinned(channel: NDArray[Any]) -> NDArray[np.float64]:
    most = VOXELS[channel.ndim]
    steps = [-(-n // most) for n in channel.shape]
    some = channel[tuple(slice((n - 1) % s // 2, None, s) for n, s in zip(channel.shape, steps, strict=True))]
    return some.astype(np.float64)


def _cells(some: NDArray[np.float64]) -> NDArray[np.float64]:
    for axis in range(some.ndim):
        if some.shape[axis] < CELLS:
            some = np.repeat(some, CELLS, axis=axis)
        edges = np.linspace(0, some.shape[axis], CELLS + 1).round().astype(int)
        parts = [some.take(range(a, b), axis).mean(axis) for a, b in pairwise(edges)]
        some = np.stack(parts, axis)
    return some
