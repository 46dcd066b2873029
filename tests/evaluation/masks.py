"""Pairs of masks that trip distance code up, and the plain slow way to measure them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def ball(shape, center, radius) -> np.ndarray:
    index = np.indices(shape).reshape(len(shape), -1).T
    inside = np.linalg.norm((index - np.array(center)) / np.array(radius), axis=1) <= 1
    return inside.reshape(shape)


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray, tuple[float, ...]]]:
    """name -> (prediction, reference, spacing); none is empty."""
    rng = np.random.default_rng(3)
    shape = (24, 20, 16)
    reference = ball(shape, (12, 10, 8), (7, 6, 5))
    blobs = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    one, other, edge = np.zeros((3, *shape), bool)
    one[3, 4, 5] = True
    other[20, 17, 1] = True
    edge[:5, :, -3:] = True
    full = np.ones(shape, bool)
    flat = ball((30, 26), (14, 12), (9, 6))
    thin = np.zeros(shape, bool)
    thin[11] = reference[11]
    return {
        "shifted": (np.roll(reference, (2, -1, 1), (0, 1, 2)), reference, (1.0, 1.0, 1.0)),
        "anisotropic": (np.roll(reference, 1, 2), reference, (0.7, 0.9, 5.0)),
        "far blob": (reference | ball(shape, (2, 2, 2), (2, 2, 2)), reference, (1.3, 0.6, 0.6)),
        "noise": (blobs > 0.05, blobs > 0.08, (1.0, 1.0, 2.5)),
        "speckle": (rng.random(shape) < 0.5, rng.random(shape) < 0.5, (0.5, 0.5, 3.0)),
        "single voxels": (one, other, (0.4, 1.1, 2.0)),
        "one voxel in a mask": (one, reference, (1.0, 1.0, 1.0)),
        "at the array edge": (edge, reference, (1.0, 2.0, 3.0)),
        "whole array": (full, reference, (1.0, 1.0, 4.0)),
        "identical": (reference, reference.copy(), (1.0, 1.0, 1.0)),
        "one slice": (thin, reference, (6.0, 0.8, 0.8)),
        "2D": (np.roll(flat, 3, 0), flat, (0.5, 1.5)),
        "2D as a volume": (np.roll(flat, 3, 0)[None], flat[None], (9.0, 0.5, 1.5)),
    }


def plain_border(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(mask.ndim, 1))


def plain_distances(prediction, reference, spacing) -> tuple[np.ndarray, np.ndarray]:
    """Distance transforms of the whole array, nothing cropped and nothing shared."""
    ours, theirs = plain_border(prediction), plain_border(reference)
    there = ndimage.distance_transform_edt(~theirs, sampling=spacing)[ours]
    back = ndimage.distance_transform_edt(~ours, sampling=spacing)[theirs]
    return there, back
