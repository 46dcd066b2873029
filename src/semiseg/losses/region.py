"""Dice and cross-entropy over a part of the image, and their sum for an image pasted together from two."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from semiseg.core import IGNORE

RegionDice = Literal["la", "acdc", "acdc_legacy"]


def region_dice(probabilities: Tensor, target: Tensor, region: Tensor, *, form: RegionDice = "la") -> Tensor:
    """One minus soft Dice inside a region, averaged over all classes, background included.

    ``la``: ``1 - (2 sum(p y) + e) / (sum(p) + sum(y) + e)`` per sample and class, e = 1e-5.
    ``acdc``: one sum per class over the batch, p squared in the denominator, e = 1e-10.
    ``acdc_legacy``: ``acdc`` with the region applied to the foreground alone: class 0 is compared everywhere.
    A class that is not in the region costs close to 1, with almost no gradient
    (Bai et al. 2023, arXiv:2305.00673).

    Args:
        probabilities: (B, K, *S) in [0, 1].
        target: (B, *S) int64 in [0, K), or :data:`IGNORE`.
        region: (*S) or (B, *S) bool, True where voxels count.
        form: see above.

    Returns:
        A scalar in [0, 1].
    """
    classes = probabilities.shape[1]
    p = probabilities.float()
    known = target != IGNORE
    counted = (known & region).unsqueeze(1)
    if form == "acdc_legacy":
        counted = counted.expand_as(p).clone()
        counted[:, 0] = known
    y = F.one_hot(target.where(known, 0), classes).movedim(-1, 1) * counted
    axes = list(range(2, p.ndim)) if form == "la" else [0, *range(2, p.ndim)]
    eps = 1e-5 if form == "la" else 1e-10
    size = (p if form == "la" else p.square()) * counted
    return 1.0 - ((2.0 * (p * y).sum(axes) + eps) / (size.sum(axes) + y.sum(axes) + eps)).mean()


def region_cross_entropy(logits: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """``sum(M (-log p_y)) / sum(M)`` over the region M, in float32; 0 where it is empty.

    Args:
        logits: (B, K, *S).
        target: (B, *S) int64 in [0, K), or :data:`IGNORE`.
        region: (*S) or (B, *S) bool.
    """
    counted = region & (target != IGNORE)
    loss = F.cross_entropy(logits.float(), target, ignore_index=IGNORE, reduction="none")
    return (loss * counted).sum() / counted.sum().clamp_min(1)


def mixed_dice_ce(
    logits: Tensor,
    host: Tensor,
    patch: Tensor,
    mask: Tensor,
    *,
    host_weight: float = 1.0,
    patch_weight: float = 1.0,
    dice: RegionDice = "la",
) -> Tensor:
    """``0.5 [v (Dice + CE)(z, h) on M + w (Dice + CE)(z, q) on 1-M]``: a host h with a patch q in it.

    Args:
        logits: (B, K, *S), of the pasted images.
        host: (B, *S) int64, the labels that count where the mask is True.
        patch: (B, *S) int64, those that count where it is False.
        mask: (*S) or (B, *S) bool.
        host_weight: v.
        patch_weight: w; with 0 the voxels of the patch get exactly no gradient.
        dice: see :func:`region_dice`.
    """
    logits = logits.float()
    p = logits.softmax(1)

    def one(target: Tensor, region: Tensor) -> Tensor:
        return 0.5 * (
            region_dice(p, target, region, form=dice) + region_cross_entropy(logits, target, region)
        )

    return host_weight * one(host, mask) + patch_weight * one(patch, ~mask)
