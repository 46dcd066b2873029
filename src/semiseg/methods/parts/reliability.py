"""Which predicted scans and voxels are reliable enough to learn from: values, thresholds and choices.

Lower values are more reliable, unless a function says otherwise. Confidences are stored as bytes, 255 for 1,
and counted in histograms, so that nothing has to be read twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Labels = NDArray[Any]
Counts = NDArray[np.int64]

LEVELS = 256
"""Values of a stored confidence."""


def round_change(first: Labels, second: Labels, *later: Labels) -> float:
    """The share of foreground that changes from one round to the next, averaged over the steps.

    ``mean_i |y_i != y_(i+1)| / |y_(i+1) > 0|``, infinite where a later round has no foreground (Huang et al.
    2022, the winner of FLARE22, doi:10.1007/978-3-031-23911-3_16).

    Args:
        first: (*S) classes of the earliest round.
        second: of the next one.
        later: of the rounds after it.
    """
    rounds = (first, second, *later)
    steps = []
    for before, after in pairwise(rounds):
        foreground = np.count_nonzero(after)
        steps.append(np.count_nonzero(before != after) / foreground if foreground else math.inf)
    return float(np.mean(steps))


def entropy_map(probabilities: Tensor) -> Tensor:
    """``-sum_c p_c ln(p_c + 1e-8)`` of (K, *S), or (B, K, *S) over the second axis: one of the axes less."""
    axis = 0 if probabilities.ndim == 4 else 1
    return -(probabilities * (probabilities + 1e-8).log()).sum(axis)


def histogram(labels: Labels, confidence: NDArray[np.uint8], classes: int) -> Counts:
    """(K, 256): voxels by predicted class and stored confidence."""
    both = labels.astype(np.int64) * LEVELS + confidence
    return np.bincount(both.reshape(-1), minlength=classes * LEVELS).reshape(classes, LEVELS)


def doubt(counts: Counts) -> float:
    """1 minus the mean confidence over the predicted foreground; infinite without any.

    Args:
        counts: (K, 256), see :func:`histogram`.
    """
    foreground = counts[1:].sum(0)
    voxels = foreground.sum()
    if not voxels:
        return math.inf
    return 1.0 - float(foreground @ np.arange(LEVELS)) / (int(voxels) * (LEVELS - 1))


def most_reliable(values: Sequence[float], keep: float, least: int = 4) -> list[int]:
    """Places of the ``keep`` share with the lowest values (of equals the first), at least ``least``,
    ascending.
    """
    count = max(round(keep * len(values)), min(len(values), least))
    order = np.argsort(np.asarray(values, float), kind="stable")
    return sorted(int(i) for i in order[:count])


def least_certain(values: Sequence[float], percentile: float = 15.0) -> list[int]:
    """Places whose summed entropy is at or above a percentile: the most certain scans are left out as
    teaching nothing (nnFilterMatch, Yang 2025, arXiv:2509.19746). The opposite sense of the others.
    """
    return [int(i) for i in np.flatnonzero(np.asarray(values) >= np.percentile(values, percentile))]


def thresholds(counts: Counts, quantile: float, largest: float) -> list[int]:
    """For each class the stored confidence from which voxels stay.

    The highest that leaves out at most ``quantile`` of the voxels predicted as the class, and none above
    ``largest``: with one threshold for all, small structures would be wiped out.

    Args:
        counts: (K, 256) over all scans, see :func:`histogram`.
        quantile: in [0, 1].
        largest: confidence in [0, 1].
    """
    below = np.cumsum(counts, 1) - counts  # voxels with a lower confidence
    allowed = below <= quantile * counts.sum(1, keepdims=True)
    highest = LEVELS - 1 - np.argmax(allowed[:, ::-1], 1)
    return [min(int(level), stored(largest)) for level in highest]


def stored(confidence: float) -> int:
    """A confidence in [0, 1] as a byte."""
    return round(confidence * (LEVELS - 1))
