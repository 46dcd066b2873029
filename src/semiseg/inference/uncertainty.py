"""How sure a prediction is, voxel by voxel."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy(probabilities: Tensor, dim: int = 0) -> Tensor:
    """Entropy over the classes divided by ln K: 0 is certain, 1 is uniform.

    With an ensemble or mirroring, ``probabilities`` are the mean over members, so that disagreement counts as
    uncertainty (predictive entropy).

    Args:
        probabilities: (K, *S), or the K classes along ``dim``; in [0, 1], summing to 1.
        dim: the class axis.

    Returns:
        The shape without ``dim``, float32, in [0, 1].
    """
    classes = probabilities.shape[dim]
    if classes < 2:
        return torch.zeros_like(probabilities.select(dim, 0))
    # torch.special.entr(p) = -p ln p, with 0 at p = 0
    nats: Tensor = torch.special.entr(probabilities.float()).sum(dim)
    return (nats / math.log(classes)).clamp_(0, 1)
