"""Which predicted scans and voxels are reliable enough to learn from: values, thresholds and choices.

Lower values are more reliable, unless a function says otherwise. Confidences are stored as bytes, 255 for 1,
and counted in histograms, so that nothing has to be read twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
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


def fold_disagreement(answers: Sequence[Labels]) -> float:
    """1 minus the mean Dice of foreground classes between every two of several label maps of a scan.

    Of a pair the classes that one of them has; infinite where none has any.
    """
    found = []
    for one, other in combinations(answers, 2):
        for k in np.union1d(one, other):
            if k:
                a, b = one == k, other == k
                found.append(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))
    return 1.0 - float(np.mean(found)) if found else math.inf


def volume_prior(volumes: NDArray[Any], labeled: NDArray[Any]) -> float:
    """How far the volume of any foreground class is from that of a usual labeled scan.

    ``max_c |ln(V_c / median V_c)|``, the median over the labeled scans that have the class: ln 2 where one is
    twice or half as large. Infinite where a class is missing that every labeled scan has; one that some of
    them lack may be missing.

    Args:
        volumes: (K,) of the predicted classes, in any unit.
        labeled: (N, K), of the labeled scans in the same unit.
    """
    worst = 0.0
    for volume, usual in zip(volumes[1:], labeled.T[1:], strict=True):
        if volume and usual.any():
            worst = max(worst, abs(math.log(float(volume) / float(np.median(usual[usual > 0])))))
        elif usual.all():
            return math.inf
    return worst


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
