"""How far predictions of several scales are from their mean, where they are about sure of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def divergence_from_mean(logits: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """``D_s = KL(m || p_s)`` per voxel, with m the mean of the predictions p_s.

    Args:
        logits: S times (B, K, *S).

    Returns:
        D (S, B, 1, *S), at least 0 up to rounding; p (S, B, K, *S); m (B, K, *S); all float32.
    """
    log_p = torch.stack([z.float().log_softmax(1) for z in logits])
    log_m = log_p.logsumexp(0) - math.log(len(logits))
    mean = log_m.exp()
    return (mean * (log_m - log_p)).sum(2, keepdim=True), log_p.exp(), mean


def pyramid_consistency(logits: Sequence[Tensor]) -> Tensor:
    """``mean[(m - p_s)^2 exp(-D_s)] / (mean[exp(-D_s)] + 1e-8) + mean[D_s]`` for each scale s.

    The squared error counts less where a scale is far from the mean, and the second term keeps that from
    paying off. The gradient flows through all of it (Luo et al. 2022, doi:10.1016/j.media.2022.102517).

    Args:
        logits: S times (B, K, *S).

    Returns:
        (S,); 0 where all scales say the same.
    """
    divergence, p, mean = divergence_from_mean(logits)
    weight = torch.exp(-divergence)
    error = ((mean - p).square() * weight).flatten(1).mean(1) / (weight.flatten(1).mean(1) + 1e-8)
    return error + divergence.flatten(1).mean(1)
