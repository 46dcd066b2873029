"""How far two predictions of the same voxels are apart, and entropies. The caller detaches the target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations
from typing import Literal

import torch
import torch.nn.functional as F
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


def softmax_kl(
    logits: Tensor,
    target_logits: Tensor,
    *,
    reduction: Reduction = "voxel",
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> Tensor:
    """``KL(target || prediction)``, elementwise ``q (log q - log p)`` with 0 log 0 = 0.

    Args:
        logits: (B, K, *S), of p.
        target_logits: (B, K, *S), of q.
        reduction: as :func:`softmax_mse`; the default ``voxel`` is the true divergence per voxel, ``mean`` is
            that divided by K, as one published code has it.
        activation: ``sigmoid`` for multi-label outputs: the divergence of each label and its absence.
    """
    if activation == "sigmoid":
        both = (softmax_kl(_binary(logits), _binary(target_logits), reduction="none")).sum(1)
        return _reduce(both, reduction)
    log_p, log_q = logits.float().log_softmax(1), target_logits.float().log_softmax(1)
    return _reduce(log_q.exp() * (log_q - log_p), reduction)


def _binary(logits: Tensor) -> Tensor:
    """(B, 2, K, *S) logits of absence and presence."""
    return torch.stack([torch.zeros_like(logits), logits], 1)


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(1)


def _reduce(values: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    return (values.sum(1) if reduction == "voxel" else values).mean()


def entropy_map(probabilities: Tensor, *, normalized: bool = True, eps: float = 1e-6) -> Tensor:
    """``-sum_k p_k ln(p_k + eps)`` per voxel.

    Args:
        probabilities: (B, K, *S) in [0, 1].
        normalized: divide by ln K, so that values lie in [0, 1].
        eps: keeps the logarithm finite (1e-6 in the published codes).

    Returns:
        (B, 1, *S).
    """
    entropy = -(probabilities * (probabilities + eps).log()).sum(1, keepdim=True)
    return entropy / math.log(probabilities.shape[1]) if normalized else entropy


def entropy_loss(probabilities: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Mean of the normalized :func:`entropy_map`, a scalar in [0, 1] (Vu et al. 2019, arXiv:1811.12833)."""
    return entropy_map(probabilities, eps=eps).mean()


def masked_mean(values: Tensor, mask: Tensor, *, per_voxel: int | None = None, eps: float = 1e-16) -> Tensor:
    """``sum(m v) / (K sum(m) + eps)``: the mean of the values where the mask is 1; 0 if it is nowhere.

    With a mask of ones it is the plain mean over all elements (Yu et al. 2019, arXiv:1907.07034).

    Args:
        values: (B, K, *S), finite also where the mask is 0.
        mask: (B, 1, *S), 0 and 1, of any type.
        per_voxel: the K of the formula, if it is not the number of channels.
        eps: of the empty mask.

    Returns:
        A scalar; voxels outside the mask get exactly no gradient.
    """
    weight = mask.to(values.dtype)
    channels = values.shape[1] if per_voxel is None else per_voxel
    return (values * weight).sum() / (channels * weight.sum() + eps)


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


def confident_pseudo_label(
    logits: Tensor,
    target_logits: Tensor,
    *,
    threshold: float,
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> Tensor:
    """Cross-entropy to ``argmax q`` where ``max q >= threshold``, averaged over *all* voxels.

    Args:
        logits: (B, K, *S), of the prediction.
        target_logits: (B, K, *S), of q; gets no gradient.
        threshold: in [0, 1].
        activation: ``sigmoid`` for multi-label outputs: of each label and its absence, averaged over both.
    """
    target_logits = target_logits.detach()
    sure = confidence(target_logits, activation) >= threshold
    if activation == "sigmoid":
        taught = (target_logits > 0).float()
        entropy = F.binary_cross_entropy_with_logits(logits.float(), taught, reduction="none")
    else:
        entropy = _cross_entropy(logits, target_logits)
    return (entropy * sure).mean()


def confidence(logits: Tensor, activation: Literal["softmax", "sigmoid"] = "softmax") -> Tensor:
    """The largest probability of each voxel (B, *S).

    With ``sigmoid`` that of each label or of its absence, (B, K, *S).
    """
    if activation == "sigmoid":
        return logits.float().abs().sigmoid()
    return logits.float().softmax(1).amax(1)


def _cross_entropy(logits: Tensor, target_logits: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), target_logits.argmax(1), reduction="none")


def regional_cross_entropy(
    logits: Tensor,
    target_logits: Tensor,
    *,
    threshold: float,
    excluded_below: float = 0.1,
    negative: Literal["classes", "released"] = "classes",
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
