"""Soft Dice, cross-entropy and their sum, the supervised loss of most methods; losses of distance maps.

Targets may leave open which of several classes a voxel is of, where a label is of some classes alone:
(B, K, *S) bool, the candidates. Their probabilities are summed, as one class that stands for all of them: the
marginal loss (Shi et al. 2021, arXiv:2007.03868; Fidon et al. 2021, arXiv:2107.03846).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.core import IGNORE
from semiseg.errors import UsageError, plural
from semiseg.losses.agreement import masked_mean


def dice_loss(
    probabilities: Tensor,
    target: Tensor,
    *,
    include_background: bool = True,
    squared: bool = True,
    weights: Sequence[float] | Tensor | None = None,
    smooth: float = 1e-5,
    voxels: Tensor | None = None,
) -> Tensor:
    """One minus soft Dice, one ratio per class over the whole batch, averaged over the classes.

    ``1 - (2 sum(p y) + e) / (sum(p^2) + sum(y^2) + e)`` (Milletari et al. 2016, arXiv:1606.04797, in the form
    of the left-atrium and ACDC codes). The ratio is joint over the batch: averaging the ratios of single
    samples would change the gradient. An absent class that is not predicted costs nothing.

    Args:
        probabilities: (B, K, *S) in [0, 1].
        target: (B, *S) int64 in [0, K), or (B, K, *S) 0 and 1 of regions, :data:`IGNORE` where nothing is
            known; or (B, K, *S) bool, the candidates.
        include_background: count class 0. ``False`` with K = 2 is the left-atrium loss.
        squared: squares in the denominator; ``False`` is ``sum(p) + sum(y)``.
        weights: one factor per counted class; the divisor stays the number of classes, as published.
        smooth: e above.
        voxels: (B, *S), a factor for each voxel in every sum; None is 1.

    Returns:
        A scalar in [0, 1] (without weights).
    """
    loss = dice_loss_per_class(probabilities, target, squared=squared, smooth=smooth, voxels=voxels)
    if not include_background:
        loss = loss[1:]
    if weights is not None:
        loss = loss * torch.as_tensor(weights, dtype=loss.dtype, device=loss.device)
    return loss.mean()


def dice_loss_per_class(
    probabilities: Tensor,
    target: Tensor,
    *,
    squared: bool = True,
    smooth: float = 1e-5,
    voxels: Tensor | None = None,
) -> Tensor:
    """(K,), one ratio for each class; arguments as in :func:`dice_loss`."""
    probabilities = probabilities.float()
    if target.dtype == torch.bool:
        probabilities, target = _merged(probabilities, target)
    mask = target != IGNORE
    truth = target.where(mask, 0)
    if not _of_regions(target, probabilities):
        truth, mask = F.one_hot(truth, probabilities.shape[1]).movedim(-1, 1), mask.unsqueeze(1)
    p, y = probabilities * mask, truth.to(probabilities.dtype) * mask
    q = (p * p) if squared else p
    if voxels is not None:
        y, q = y * voxels.unsqueeze(1), q * voxels.unsqueeze(1)
    axes = [0, *range(2, p.ndim)]
    overlap = (p * y).sum(axes)
    size = q.sum(axes) + y.sum(axes)  # y^2 == y
    return 1.0 - (2.0 * overlap + smooth) / (size + smooth)


def dice_ce(
    logits: Tensor, target: Tensor, *, include_background: bool = True, voxels: Tensor | None = None
) -> Tensor:
    """``0.5 * (cross-entropy + dice_loss)``, computed in float32 whatever the precision of the logits.

    Of regions, each with a sigmoid of its own: binary cross-entropy, averaged over regions and voxels.

    Args:
        logits: (B, K, *S).
        target: (B, *S) int64 in [0, K), or :data:`IGNORE`; or (B, K, *S) 0, 1 or :data:`IGNORE` of regions,
            or bool, the candidates. With every voxel ignored the loss is 0.
        include_background: passed to :func:`dice_loss`; regions have none.
        voxels: (B, *S), a factor for each voxel in every sum; None is 1.
    """
    if target.dtype == torch.bool:
        log_p, target = _merged(logits.float().log_softmax(1), target, logarithms=True)
    elif _of_regions(target, logits):
        mask = target != IGNORE
        truth = target.where(mask, 0).float()
        binary = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
        dice = dice_loss(logits.float().sigmoid(), target, voxels=voxels)
        return 0.5 * (_mean(binary, mask, None if voxels is None else voxels.unsqueeze(1)) + dice)
    else:
        log_p = logits.float().log_softmax(1)
    dice = dice_loss(log_p.exp(), target, include_background=include_background, voxels=voxels)
    if voxels is None:
        known = (target != IGNORE).sum().clamp_min(1)
        return 0.5 * (F.nll_loss(log_p, target, ignore_index=IGNORE, reduction="sum") / known + dice)
    entropy = F.nll_loss(log_p, target, ignore_index=IGNORE, reduction="none")
    return 0.5 * (_mean(entropy, target != IGNORE, voxels) + dice)


def _mean(values: Tensor, mask: Tensor, weights: Tensor | None) -> Tensor:
    """Over the mask, weighted; 0 where nothing counts."""
    if weights is None:
        return (values * mask).sum() / mask.sum().clamp_min(1)
    counted = mask * weights
    total = counted.sum()
    return (values * counted).sum() / torch.where(total > 0, total, 1.0)


def _merged(values: Tensor, candidates: Tensor, *, logarithms: bool = False) -> tuple[Tensor, Tensor]:
    """Probabilities (or logarithms) with those of all candidates in the first one, and that as the class.

    (B, K, *S) of the same form; (B, *S) int64 classes, :data:`IGNORE` where all are candidates.
    """
    first = candidates.to(torch.uint8).argmax(1)
    if logarithms:
        together = values.masked_fill(~candidates, -torch.inf).logsumexp(1)
    else:
        together = (values * candidates).sum(1)
    rest = values.masked_fill(candidates, -torch.inf if logarithms else 0.0)
    merged = rest.scatter(1, first.unsqueeze(1), together.unsqueeze(1))
    return merged, first.masked_fill(candidates.all(1), IGNORE)


def _of_regions(target: Tensor, scores: Tensor) -> bool:
    return target.ndim == scores.ndim


def cross_entropy(
    logits: Tensor, target: Tensor, *, weights: Sequence[float] | Tensor | None = None
) -> Tensor:
    """``sum(w_y (-log p_y)) / sum(w_y)`` over the known voxels, in float32; 0 if none is known.

    Args:
        logits: (B, K, *S).
        target: (B, *S) int64 in [0, K), or :data:`IGNORE`; or (B, K, *S) bool, the candidates.
        weights: one factor per class; None is 1 for each.

    Raises:
        UsageError: another number of weights than classes.
    """
    classes = logits.shape[1]
    if weights is not None and len(weights) != classes:
        raise UsageError(
            f"{plural(len(weights), 'class weight')} for {plural(classes, 'class', 'classes')}",
            hint="give one weight per class, background first",
        )
    log_p = logits.float().log_softmax(1)
    if target.dtype == torch.bool:
        log_p, target = _merged(log_p, target, logarithms=True)
    given = [1.0] * classes if weights is None else weights
    factors = torch.as_tensor(given, dtype=log_p.dtype, device=log_p.device)
    total = F.nll_loss(log_p, target, factors, ignore_index=IGNORE, reduction="sum")
    known = target != IGNORE
    divisor = (factors[target.where(known, 0)] * known).sum()
    return total / torch.where(divisor > 0, divisor, 1.0)


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
