"""Slice by slice at a fixed size: the protocol of the published 2D test scripts."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import torch
from torch import Tensor

from semiseg.inference.accumulate import Slab
from semiseg.inference.window import Predict, slabs


def nearest_index(old: int, new: int) -> Tensor:
    """Which of ``old`` samples each of ``new`` samples takes, when the end points are kept in place.

    The coordinate rule of an order-0 ``scipy.ndimage.zoom``: sample i reads i * (old - 1) / (new - 1),
    rounded half up. (new,) int64.
    """
    if new == 1:
        return torch.zeros(1, dtype=torch.int64)
    scale = (old - 1) / (new - 1)
    index = np.floor(np.arange(new) * scale + 0.5).astype(np.int64)
    return torch.from_numpy(np.minimum(index, old - 1))


def resize_nearest(images: Tensor, size: Sequence[int]) -> Tensor:
    """(A, B, H, W) to (A, B, *size) by picking samples; the same tensor when nothing changes."""
    for axis, new in enumerate(size, start=images.ndim - len(size)):
        old = images.shape[axis]
        if old != new:
            images = images.index_select(axis, nearest_index(old, new).to(images.device))
    return images


def predict_slices(
    predict: Predict,
    image: Tensor,
    size: Sequence[int],
    *,
    batch: int = 1,
    device: torch.device | None = None,
) -> Generator[Slab, None, None]:
    """Resize each slice to ``size`` (nearest), predict it whole, and resize the result back (nearest).

    Picking samples commutes with argmax, so labels taken from the result are those of the scripts, which
    resize label slices. A slice that already has the size is not resampled.

    Args:
        predict: (B, C, *size) -> (B, K, *size) probabilities.
        image: (C, T0, T1, T2), slices along T0.
        size: the network's input size.
        batch: slices per forward pass.
        device: where ``predict`` wants its input (default: that of ``image``).

    Yields:
        Slabs that cover T0 in order.

    Source: the SSL4MIS evaluation protocol for ACDC (Luo, 2020).
    """
    for slab in slabs(predict, resize_nearest(image, size), size, batch=batch, device=device):
        yield Slab(slab.start, resize_nearest(slab.probabilities, image.shape[2:]))
