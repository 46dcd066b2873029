"""Features pushed apart, so that two networks look at the same image in different ways."""

from __future__ import annotations

import torch
from torch import Tensor


def feature_discrepancy(features: Tensor, others: Tensor) -> Tensor:
    """``1 + mean cos(f, g)`` over samples and positions, in float32 (Wu et al., CML, ACM MM 2024).

    For features that are never negative, such as those of a ReLU, it cannot fall below 1.

    Args:
        features: f, (B, D, *S); a position without length counts as a right angle.
        others: g, of the same shape; gets no gradient.

    Returns:
        A scalar in [0, 2]; 2 where both point the same way.
    """
    with torch.autocast(features.device.type, enabled=False):
        cosine: Tensor = (_direction(features.float()) * _direction(others.detach().float())).sum(1)
    return 1.0 + cosine.mean()


def _direction(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / length.where(length > 1e-12, 1.0)  # a bound on the length alone would let the gradient explode
