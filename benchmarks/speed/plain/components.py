"""The largest component of pseudo-labels in the style of the published codes: SciPy, patch by patch."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor


def largest(labels: Tensor, classes: int) -> Tensor:
    """Labels (B, *S) int64 with nothing but the largest component (corners connect) of each class."""
    kept = []
    for sample in labels.detach().cpu().numpy():
        clean = np.zeros_like(sample)
        for c in range(1, classes):
            mask = sample == c
            numbered, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
            if count:
                clean[numbered == np.argmax(np.bincount(numbered.flat)[1:]) + 1] = c
        kept.append(clean)
    return torch.Tensor(kept).long().to(labels.device)
