"""Pseudo-labels that count only where they are as confident as can be expected of their class."""

from __future__ import annotations

import torch
from torch import Tensor

from semiseg.core import IGNORE


def class_means(values: Tensor, classes: Tensor, k: int) -> Tensor:
    """(K,) float32: the mean value of the voxels of each class, 0 for a class without voxels.

    Never above the largest of a class, as rounding would have it: at least one voxel reaches the mean.

    Args:
        values: (B, *S), at least 0.
        classes: (B, *S) int64 in [0, K), or :data:`semiseg.core.IGNORE`.
        k: K.
    """
    here = classes.flatten() == torch.arange(k, device=classes.device)[:, None]
    members = torch.where(here, values.float().flatten(), 0.0)
    return torch.minimum(members.sum(1) / here.sum(1).clamp_min(1), members.amax(1))


def expectation_mask(confidence: Tensor, classes: Tensor, expectation: Tensor, *, strict: bool) -> Tensor:
    """(B, *S) bool: where the confidence reaches what is expected of the voxel's class.

    Args:
        confidence: (B, *S).
        classes: (B, *S) int64 in [0, K).
        expectation: (K,).
        strict: more than expected, not just as much; then a class of equal confidences is lost.
    """
    expected = expectation[classes]
    return confidence > expected if strict else confidence >= expected


def weighted_cross_entropy(logits: Tensor, target: Tensor, *, eps: float = 1e-8) -> Tensor:
    """``sum(target * -log p) / (sum(target) + eps)`` in float32; 0 where the target is empty.

    Args:
        logits: (B, K, *S).
        target: (B, K, *S): class shares times the weight of the voxel; gets no gradient.
        eps: of the empty target.
    """
    target = target.detach()
    return -(target * logits.float().log_softmax(1)).sum() / (target.sum() + eps)


def known_confidence(probabilities: Tensor, labels: Tensor) -> Tensor:
    """(K,): the mean largest probability (B, K, *S) of the voxels of each true class (B, *S)."""
    return class_means(probabilities.amax(1), labels.where(labels != IGNORE, -1), probabilities.shape[1])
