"""Losses of signed distances: negative inside of a class, in [-1, 1], one channel per foreground class."""

from __future__ import annotations

import torch
from torch import Tensor

from semiseg.core import IGNORE
from semiseg.losses.agreement import masked_mean


def mask_from_distance(distances: Tensor, *, steepness: float = 1500.0) -> Tensor:
    """``sigmoid(-k z)``: about 1 inside, 0 outside, 1/2 where z = 0 (Luo et al. 2021, arXiv:2009.04448).

    In float32 whatever the precision of the distances. With k = 1500 all but a shell of |z| < 0.012 is
    saturated and has next to no gradient.

    Args:
        distances: z, any shape.
        steepness: k.
    """
    return torch.sigmoid(-steepness * distances.float())


def distance_loss(distances: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    """Mean of ``(z - g)^2`` over samples, classes and the voxels that have a label.

    Args:
        distances: z, (B, K-1, *S).
        target: g, (B, K-1, *S).
        labels: (B, *S), :data:`IGNORE` where nothing is known. With every voxel ignored the loss is 0.
    """
    return masked_mean((distances.float() - target).square(), (labels != IGNORE).unsqueeze(1))


def task_consistency(distances: Tensor, probabilities: Tensor, *, steepness: float = 1500.0) -> Tensor:
    """Mean of ``(sigmoid(-k z_c) - p_c)^2`` over samples, foreground classes and voxels.

    The gradient reaches both arguments.

    Args:
        distances: z, (B, K-1, *S).
        probabilities: p, (B, K, *S) with background first.
        steepness: k.
    """
    masks = mask_from_distance(distances, steepness=steepness)
    return (masks - probabilities[:, 1:].float()).square().mean()
