"""Cross-entropy with weights of the classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.core import IGNORE
from semiseg.errors import UsageError


def cross_entropy(
    logits: Tensor, target: Tensor, *, weights: Sequence[float] | Tensor | None = None
) -> Tensor:
    """``sum(w_y (-log p_y)) / sum(w_y)`` over the known voxels, in float32; 0 if none is known.

    Args:
        logits: (B, K, *S).
        target: (B, *S) int64 in [0, K), or :data:`IGNORE`.
        weights: one factor per class; None is 1 for each.

    Raises:
        UsageError: another number of weights than classes.
    """
    classes = logits.shape[1]
    if weights is not None and len(weights) != classes:
        raise UsageError(
            f"{len(weights)} class weights for {classes} classes",
            hint="give one weight per class, background first",
        )
    log_p = logits.float().log_softmax(1)
    given = [1.0] * classes if weights is None else weights
    factors = torch.as_tensor(given, dtype=log_p.dtype, device=log_p.device)
    total = F.nll_loss(log_p, target, factors, ignore_index=IGNORE, reduction="sum")
    known = target != IGNORE
    divisor = (factors[target.where(known, 0)] * known).sum()
    return total / torch.where(divisor > 0, divisor, 1.0)
