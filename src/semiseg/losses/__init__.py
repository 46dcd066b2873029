"""Losses: pure functions of tensors. Each says whether it takes logits or probabilities."""

from semiseg.losses.agreement import (
    confidence,
    confident_pseudo_label,
    entropy_loss,
    entropy_map,
    masked_mean,
    mutual_consistency,
    rectified,
    rectified_pseudo_label,
    regional_cross_entropy,
    sharpen,
    softmax_kl,
    softmax_mse,
)
from semiseg.losses.segmentation import (
    cross_entropy,
    dice_ce,
    dice_loss,
    dice_loss_per_class,
    distance_loss,
    mask_from_distance,
    task_consistency,
)

__all__ = [
    "confidence", "confident_pseudo_label", "cross_entropy", "dice_ce", "dice_loss", "dice_loss_per_class",
    "distance_loss", "entropy_loss", "entropy_map", "mask_from_distance", "masked_mean", "mutual_consistency",
    "rectified", "rectified_pseudo_label", "regional_cross_entropy", "sharpen", "softmax_kl", "softmax_mse",
    "task_consistency",
]  # fmt: skip
