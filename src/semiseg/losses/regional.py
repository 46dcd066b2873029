"""Pseudo-labels by region: what is nearly certain is taught, what is nearly excluded is taught against."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Negative = Literal["classes", "released"]


def regional_cross_entropy(
    logits: Tensor,
    target_logits: Tensor,
    *,
    threshold: float,
    excluded_below: float = 0.1,
    negative: Negative = "classes",
    where: Tensor | None = None,
) -> Tensor:
    """Weighted cross-entropy on confident voxels, and its opposite for classes that are all but excluded.

    ``mean over {max q >= t} of max q (-log p_y) + mean over {q_c < e} of q_c (-log(1 - p_c))`` with y the
    class of max q, the second mean over pairs of voxel and class. In the release for more than two classes
    the second one is over voxels with ``min q < e`` and all classes, with the weight ``min q``, twice that
    for y: the label, too, is taught against (Liu et al. 2022, arXiv:2203.14523). For two classes, one of
    which is excluded where the other is nearly certain, both are the same.

    Args:
        logits: (B, K, *S), of p.
        target_logits: (B, K, *S), of q; gets no gradient.
        threshold: t.
        excluded_below: e.
        negative: ``classes``, or ``released``.
        where: (B, *S) bool, the voxels that count; None is all.

    Returns:
        A scalar, at least 0; a mean over nothing is 0.
    """
    log_p, q = logits.float().log_softmax(1), target_logits.detach().float().softmax(1)
    confidence, label = q.max(1)
    counts = torch.ones_like(label, dtype=torch.bool) if where is None else where
    said = log_p.gather(1, label.unsqueeze(1)).squeeze(1)
    positive = _mean(-confidence * said, counts & (confidence >= threshold))
    against = -(1.0 - log_p.exp()).clamp_min(1e-6).log()
    excluded = (q < excluded_below) & counts.unsqueeze(1)
    if negative == "classes" or q.shape[1] == 2:
        return positive + _mean(q * against, excluded)
    least = q.amin(1, keepdim=True)
    twice = torch.ones_like(q).scatter(1, label.unsqueeze(1), 2.0)
    return positive + _mean(least * twice * against, excluded.any(1, keepdim=True).expand_as(q))


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, values, 0.0).sum() / where.sum().clamp_min(1)
