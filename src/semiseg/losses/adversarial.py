"""Losses of a critic that tells samples of labeled scans from samples of unlabeled ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def origin_loss(logits: Tensor, labeled: int) -> Tensor:
    """Cross-entropy of the critic's answers when the first ``labeled`` samples are to be called labeled.

    For the critic that is the truth; a network that wants to fool it asks for all of them (the form of the
    generator's loss that does not saturate, Goodfellow et al. 2014, arXiv:1406.2661). The plain mean over
    samples, also where there are more of one kind.

    Args:
        logits: (B, 2), channel 1 for labeled.
        labeled: how many samples, from the first on; the others are to be called unlabeled.
    """
    truth = (torch.arange(len(logits), device=logits.device) < labeled).long()
    return F.cross_entropy(logits.float(), truth)
