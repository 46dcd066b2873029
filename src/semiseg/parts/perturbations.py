"""Disturbances of feature maps (Ouali et al. 2020, arXiv:2003.09005, as in SSL4MIS)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def feature_noise(x: Tensor, *, limit: float = 0.3, noise: Tensor | None = None) -> Tensor:
    """``x (1 + n)`` with one n ~ U(-limit, limit) of shape (D, *S) for the whole batch.

    Args:
        x: (B, D, *S).
        limit: below 1 every value keeps its sign.
        noise: n, if it has been drawn.
    """
    if noise is None:
        noise = (2 * torch.rand_like(x[0]) - 1) * limit
    return x * noise + x


def feature_dropout(x: Tensor, *, rate: float) -> Tensor:
    """Element-wise dropout of (B, D, *S), in eval mode too."""
    return F.dropout(x, rate, training=True)


def channel_dropout(x: Tensor, *, rate: float) -> Tensor:
    """Dropout of whole channels of (B, D, *S), in eval mode too."""
    return F.dropout2d(x, rate) if x.ndim == 4 else F.dropout3d(x, rate)


def feature_drop(
    x: Tensor, *, between: tuple[float, float] = (0.7, 0.9), share: Tensor | None = None
) -> Tensor:
    """Sets the most active positions to 0; what is left is not scaled up.

    The activity of a position is its mean over channels. Positions below u times the largest activity of
    their sample stay, with one u ~ U(between) for the whole batch.

    Args:
        x: (B, D, *S).
        between: bounds of u.
        share: u, if it has been drawn.
    """
    if share is None:
        low, high = between
        share = low + (high - low) * torch.rand((), device=x.device)
    activity = x.detach().float().mean(1, keepdim=True)
    largest = activity.flatten(1).amax(1).view(-1, *[1] * (x.ndim - 1))
    return x * (activity < share * largest)
