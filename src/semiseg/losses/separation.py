"""Features drawn to the prototype of their class."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

FAR = -1e4
"""A similarity that no softmax counts, and that stays finite where it is the only one."""


def class_separation(
    features: Tensor,
    classes: Tensor,
    counts: Tensor,
    prototypes: Tensor,
    seen: Tensor,
    *,
    temperature: float = 0.1,
    form: Literal["contrastive", "pull"] = "contrastive",
    eps: float = 1e-6,
) -> Tensor:
    """How far voxels are from the prototype of their class, by the cosine of the angle, in float32.

    ``contrastive``: ``-log softmax_k(f . mu_k / T)`` at the voxel's class, over the classes seen so far;
    ``pull``: ``1 - f . mu``, in [0, 2]. Averaged over the voxels that count, 0 if none does.

    Args:
        features: (B, D, N), of any length each.
        classes: (B, N) int64 in [0, K).
        counts: (B, N), True where a voxel takes part; one of an unseen class does not.
        prototypes: (K, D) of length 1; get no gradient.
        seen: (K,) bool, which prototypes exist.
        temperature: T.
        form: see above.
        eps: added to the number of voxels.
    """
    with torch.autocast(features.device.type, enabled=False):
        direction = F.normalize(features.float(), dim=1, eps=1e-12)
        cosine = torch.einsum("bdn,kd->bkn", direction, prototypes.detach().float())
    if form == "pull":
        loss = 1.0 - cosine.gather(1, classes.unsqueeze(1)).squeeze(1)
    else:
        loss = F.cross_entropy(
            (cosine / temperature).masked_fill(~seen[:, None], FAR), classes, reduction="none"
        )
    weight = (counts & seen[classes]).to(loss.dtype)
    return (loss * weight).sum() / (weight.sum() + eps)
