"""Sharpened predictions as targets, and the agreement of several predictions with them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor

Sharpening = Literal["classes", "elements"]


def sharpen(logits: Tensor, *, temperature: float = 0.1, form: Sharpening = "classes") -> Tensor:
    """Probabilities to the power of 1 / T, normalized again (Wu et al., doi:10.1007/978-3-030-87196-3_28).

    ``classes``: ``p_c^(1/T) / sum_j p_j^(1/T)``, a distribution. ``elements``: ``p^(1/T) / (p^(1/T) +
    (1 - p)^(1/T))``, each class against the rest, which is the same for two classes only.

    Args:
        logits: (B, K, *S).
        temperature: T, above 0; 1 leaves the probabilities as they are.
        form: see above.

    Returns:
        (B, K, *S) in [0, 1], float32; the gradient flows through.
    """
    log_p = logits.float().log_softmax(1)
    if form == "classes":
        return (log_p / temperature).softmax(1)
    log_rest = (-torch.expm1(log_p)).clamp_min(1e-30).log()
    return torch.sigmoid((log_p - log_rest) / temperature)


def mutual_consistency(
    logits: Sequence[Tensor], *, temperature: float = 0.1, form: Sharpening = "classes"
) -> Tensor:
    """Sum over ordered pairs i, j of the mean of ``(p_i - sharpened p_j)^2`` over all elements.

    No gradient is stopped: each prediction also moves to where the others agree with it.

    Args:
        logits: two or more times (B, K, *S).
        temperature: of :func:`sharpen`.
        form: of :func:`sharpen`.
    """
    soft = [z.float().softmax(1) for z in logits]
    sharp = [sharpen(z, temperature=temperature, form=form) for z in logits]
    pairs = permutations(range(len(logits)), 2)
    return torch.stack([(soft[i] - sharp[j]).square().mean() for i, j in pairs]).sum()
