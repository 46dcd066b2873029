"""Losses: pure functions of tensors. Each says whether it takes logits or probabilities."""

from semiseg.losses.consistency import softmax_kl, softmax_mse
from semiseg.losses.entropy import entropy_loss, entropy_map
from semiseg.losses.masked import masked_mean
from semiseg.losses.overlap import dice_ce, dice_loss
from semiseg.losses.pseudo_label import confident_pseudo_label, rectified, rectified_pseudo_label
from semiseg.losses.separation import class_separation

__all__ = [
    "class_separation",
    "confident_pseudo_label",
    "dice_ce",
    "dice_loss",
    "entropy_loss",
    "entropy_map",
    "masked_mean",
    "rectified",
    "rectified_pseudo_label",
    "softmax_kl",
    "softmax_mse",
]
