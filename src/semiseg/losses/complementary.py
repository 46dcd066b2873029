"""Terms of the released FixMatch for segmentation: which class a voxel surely is not."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def complementary(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Cross-entropy of ``1 - p`` to the *least* likely class of q, where ``1 - p`` serves as logits.

    Its smallest value is far above 0, since logits in [0, 1] make no class sure.

    Args:
        logits: (B, K, *S), of p.
        target_logits: (B, K, *S), of q; gets no gradient.
    """
    return F.cross_entropy(1.0 - logits.float().softmax(1), target_logits.argmin(1))


def concentration(probabilities: Tensor) -> Tensor:
    """One minus the entropy of each class map over its voxels, by the logarithm of their number; a scalar.

    0 where every class is spread evenly over the image, 1 where each is in one voxel; the mean over samples
    and classes.

    Args:
        probabilities: (B, K, *S).
    """
    maps = probabilities.flatten(2).clamp_min(1e-30)  # 0 log 0 = 0
    log_share = maps.log() - maps.sum(-1, keepdim=True).log()
    entropy = -(log_share.exp() * log_share).sum(-1)
    return 1.0 - entropy.mean() / math.log(maps.shape[-1])
