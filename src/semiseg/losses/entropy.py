"""Shannon entropy of class probabilities."""

from __future__ import annotations

import math

from torch import Tensor


def entropy_map(probabilities: Tensor, *, normalized: bool = True, eps: float = 1e-6) -> Tensor:
    """``-sum_k p_k ln(p_k + eps)`` per voxel.

    Args:
        probabilities: (B, K, *S) in [0, 1].
        normalized: divide by ln K, so that values lie in [0, 1].
        eps: keeps the logarithm finite (1e-6 in the published codes).

    Returns:
        (B, 1, *S).
    """
    entropy = -(probabilities * (probabilities + eps).log()).sum(1, keepdim=True)
    return entropy / math.log(probabilities.shape[1]) if normalized else entropy


def entropy_loss(probabilities: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Mean of the normalized :func:`entropy_map`, a scalar in [0, 1] (Vu et al. 2019, arXiv:1811.12833)."""
    return entropy_map(probabilities, eps=eps).mean()
