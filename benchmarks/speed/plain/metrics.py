"""The metrics of a scan in the style of the published scripts: each by itself, on the whole volume."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def surface_distances(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """From each border voxel of one mask to the nearest of the other, in voxels."""
    cross = ndimage.generate_binary_structure(source.ndim, 1)
    edge = source ^ ndimage.binary_erosion(source, cross)
    other = target ^ ndimage.binary_erosion(target, cross)
    return ndimage.distance_transform_edt(~other)[edge]


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    p, r = prediction.astype(bool), reference.astype(bool)
    return 2 * np.count_nonzero(p & r) / (np.count_nonzero(p) + np.count_nonzero(r))


def jaccard(prediction: np.ndarray, reference: np.ndarray) -> float:
    p, r = prediction.astype(bool), reference.astype(bool)
    return np.count_nonzero(p & r) / np.count_nonzero(p | r)


def hd95(prediction: np.ndarray, reference: np.ndarray) -> float:
    p, r = prediction.astype(bool), reference.astype(bool)
    return float(np.percentile(np.hstack([surface_distances(p, r), surface_distances(r, p)]), 95))


def asd(prediction: np.ndarray, reference: np.ndarray) -> float:
    return float(surface_distances(prediction.astype(bool), reference.astype(bool)).mean())


def evaluate(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, float, float, float]:
    """Dice, Jaccard, HD95 and ASD of two non-empty masks."""
    return tuple(metric(prediction, reference) for metric in (dice, jaccard, hd95, asd))
