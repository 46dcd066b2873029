"""How like its own image's confident voxels of each class every voxel is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def class_thresholds(classes: int, high: float, low: float, like: Tensor) -> Tensor:
    """(K, 1): ``1 - low`` for the background and ``high`` for all others."""
    return like.new_tensor([1.0 - low] + [high] * (classes - 1))[:, None]


def prototype_maps(logits: Tensor, features: Tensor, *, high: float, low: float) -> Tensor:
    """The cosine of every voxel's features to the mean of the confident voxels of each class, per image.

    Confident voxels are those of which the most likely class reaches its threshold. The gradient flows
    through features and means, not through the choice of voxels (Li & Qin 2026, arXiv:2605.25561).

    Args:
        logits: (B, K, *S).
        features: (B, D, *S), of any length each.
        high: threshold of the classes but the background.
        low: one minus the threshold of the background.

    Returns:
        (B, K, *S) float32 in [-1, 1]; 0 for a class without a confident voxel.
    """
    with torch.autocast(features.device.type, enabled=False):
        p = logits.detach().float().softmax(1).flatten(2)
        sure = p >= class_thresholds(p.shape[1], high, low, p)
        chosen = (sure & (p == p.amax(1, keepdim=True))).float()
        flat = features.float().flatten(2)
        means = torch.einsum("bdv,bkv->bkd", flat, chosen) / (chosen.sum(2) + 1e-6)[..., None]
        prototypes = F.normalize(means, dim=2, eps=1e-12)
        cosine = torch.einsum("bdv,bkd->bkv", F.normalize(flat, dim=1, eps=1e-8), prototypes)
        return cosine.view(logits.shape)


def difference(first: Tensor, second: Tensor) -> Tensor:
    """(B, *S): the largest absolute difference of two maps (B, K, *S) over the foreground classes."""
    return (first - second)[:, 1:].abs().amax(1)
