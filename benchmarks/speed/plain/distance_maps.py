"""Signed distance maps in the style of the published codes: SciPy transforms of whole patches."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def signed_distance(labels: np.ndarray) -> np.ndarray:
    """Maps (B, *S) in [-1, 1] of the masks of (B, *S): negative inside, 0 on the inner boundary."""
    labels = labels.astype(np.uint8)
    maps = np.zeros(labels.shape)
    for b in range(len(labels)):
        inside = labels[b].astype(bool)
        if inside.any():
            outside = ~inside
            depth = ndimage.distance_transform_edt(inside)
            height = ndimage.distance_transform_edt(outside)
            boundary = inside & ~ndimage.binary_erosion(inside, border_value=1)
            sdf = (height - height.min()) / (height.max() - height.min())
            sdf = sdf - (depth - depth.min()) / (depth.max() - depth.min())
            sdf[boundary] = 0
            maps[b] = sdf
    return maps
