"""Losses: pure functions of tensors. Each says whether it takes logits or probabilities."""

from semiseg.losses.consistency import softmax_kl, softmax_mse
from semiseg.losses.entropy import entropy_loss, entropy_map
from semiseg.losses.overlap import dice_ce, dice_loss

__all__ = ["dice_ce", "dice_loss", "entropy_loss", "entropy_map", "softmax_kl", "softmax_mse"]
