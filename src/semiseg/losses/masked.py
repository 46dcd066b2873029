"""Means over some of the voxels."""

from __future__ import annotations

from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor, *, per_voxel: int | None = None, eps: float = 1e-16) -> Tensor:
    """``sum(m v) / (K sum(m) + eps)``: the mean of the values where the mask is 1; 0 if it is nowhere.

    With a mask of ones it is the plain mean over all elements (Yu et al. 2019, arXiv:1907.07034).

    Args:
        values: (B, K, *S), finite also where the mask is 0.
        mask: (B, 1, *S), 0 and 1, of any type.
        per_voxel: the K of the formula, if it is not the number of channels.
        eps: of the empty mask.

    Returns:
        A scalar; voxels outside the mask get exactly no gradient.
    """
    weight = mask.to(values.dtype)
    channels = values.shape[1] if per_voxel is None else per_voxel
    return (values * weight).sum() / (channels * weight.sum() + eps)
