"""Losses: pure functions of tensors. Each says whether it takes logits or probabilities."""

from semiseg.losses.adversarial import origin_loss
from semiseg.losses.complementary import complementary, concentration
from semiseg.losses.consistency import softmax_kl, softmax_mse
from semiseg.losses.cross_entropy import cross_entropy
from semiseg.losses.distance import distance_loss, mask_from_distance, task_consistency
from semiseg.losses.entropy import entropy_loss, entropy_map
from semiseg.losses.masked import masked_mean
from semiseg.losses.over_expectation import (
    class_means,
    expectation_mask,
    known_confidence,
    weighted_cross_entropy,
)
from semiseg.losses.overlap import dice_ce, dice_loss, dice_loss_per_class
from semiseg.losses.patch_contrast import fecl, fecl_paper
from semiseg.losses.pseudo_label import confident_pseudo_label, rectified, rectified_pseudo_label
from semiseg.losses.pyramid import divergence_from_mean, pyramid_consistency
from semiseg.losses.region import mixed_dice_ce, region_cross_entropy, region_dice
from semiseg.losses.regional import regional_cross_entropy
from semiseg.losses.separation import class_separation
from semiseg.losses.sharpening import mutual_consistency, sharpen
from semiseg.losses.translation import saddle_entropy, translation_consistency
from semiseg.losses.uncertainty import uncl

__all__ = [
    "class_means",
    "class_separation",
    "complementary",
    "concentration",
    "confident_pseudo_label",
    "cross_entropy",
    "dice_ce",
    "dice_loss",
    "dice_loss_per_class",
    "distance_loss",
    "divergence_from_mean",
    "entropy_loss",
    "entropy_map",
    "expectation_mask",
    "fecl",
    "fecl_paper",
    "known_confidence",
    "mask_from_distance",
    "masked_mean",
    "mixed_dice_ce",
    "mutual_consistency",
    "origin_loss",
    "pyramid_consistency",
    "rectified",
    "rectified_pseudo_label",
    "region_cross_entropy",
    "region_dice",
    "regional_cross_entropy",
    "saddle_entropy",
    "sharpen",
    "softmax_kl",
    "softmax_mse",
    "task_consistency",
    "translation_consistency",
    "uncl",
    "weighted_cross_entropy",
]
