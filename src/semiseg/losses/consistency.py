"""How far two predictions of the same voxels are apart. The caller stops the gradient of the target."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["none", "mean", "sum", "voxel"]


def softmax_mse(
    logits: Tensor,
    target_logits: Tensor,
    *,
    reduction: Reduction = "mean",
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> Tensor:
    """Squared difference of the two probability maps (Tarvainen & Valpola 2017, arXiv:1703.01780).

    Args:
        logits: (B, K, *S).
        target_logits: (B, K, *S).
        reduction: ``mean`` over all elements *including classes* (the published form, at most 2 / K for
            one-hot disagreement); ``voxel`` sums over classes and averages the rest; ``sum``; ``none``.
        activation: ``sigmoid`` for multi-label outputs.
    """
    squash = torch.sigmoid if activation == "sigmoid" else _softmax
    return _reduce((squash(logits.float()) - squash(target_logits.float())).square(), reduction)


def softmax_kl(logits: Tensor, target_logits: Tensor, *, reduction: Reduction = "voxel") -> Tensor:
    """``KL(target || prediction)``, elementwise ``q (log q - log p)`` with 0 log 0 = 0.

    Args:
        logits: (B, K, *S), of p.
        target_logits: (B, K, *S), of q.
        reduction: as :func:`softmax_mse`; the default ``voxel`` is the true divergence per voxel, ``mean`` is
            that divided by K, as one published code has it.
    """
    log_p, log_q = logits.float().log_softmax(1), target_logits.float().log_softmax(1)
    return _reduce(log_q.exp() * (log_q - log_p), reduction)


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(1)


def _reduce(values: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    return (values.sum(1) if reduction == "voxel" else values).mean()
