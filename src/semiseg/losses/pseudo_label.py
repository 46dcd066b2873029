"""Cross-entropy to the class that another prediction of the same voxels holds for the most likely."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from semiseg.losses.consistency import softmax_kl


def rectified(loss: Tensor, divergence: Tensor, *, detach_weight: bool = False) -> Tensor:
    """``mean(loss * exp(-divergence)) + mean(divergence)``: less weight where two predictions differ.

    The second mean keeps the divergence from growing only to switch the loss off (Zheng & Yang 2021,
    arXiv:2003.03773).

    Args:
        loss: (B, *S), at least 0.
        divergence: (B, *S), at least 0.
        detach_weight: no gradient through ``exp(-divergence)``.
    """
    trust = (-divergence).exp()
    return (loss * (trust.detach() if detach_weight else trust)).mean() + divergence.mean()


def rectified_pseudo_label(logits: Tensor, target_logits: Tensor, *, detach_weight: bool = False) -> Tensor:
    """Cross-entropy to ``argmax q``, :func:`rectified` by ``KL(q || p)`` (Lu et al. 2023).

    Args:
        logits: (B, K, *S), of p.
        target_logits: (B, K, *S), of q; gets no gradient.
        detach_weight: as in :func:`rectified`.

    Returns:
        A scalar, at least 0; ``mean(-log max q)`` where both agree.
    """
    target_logits = target_logits.detach()
    divergence = softmax_kl(logits, target_logits, reduction="none").sum(1)
    return rectified(_cross_entropy(logits, target_logits), divergence, detach_weight=detach_weight)


def confident_pseudo_label(logits: Tensor, target_logits: Tensor, *, threshold: float) -> Tensor:
    """Cross-entropy to ``argmax q`` where ``max q >= threshold``, averaged over *all* voxels.

    Args:
        logits: (B, K, *S), of the prediction.
        target_logits: (B, K, *S), of q; gets no gradient.
        threshold: in [0, 1].
    """
    target_logits = target_logits.detach()
    sure = target_logits.float().softmax(1).amax(1) >= threshold
    return (_cross_entropy(logits, target_logits) * sure).mean()


def _cross_entropy(logits: Tensor, target_logits: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), target_logits.argmax(1), reduction="none")
