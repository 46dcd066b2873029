"""Patches: the voxels that share one position of a coarse feature map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.core import IGNORE


def pooled(values: Tensor, grid: Sequence[int]) -> Tensor:
    """(B, C, *S) -> (B, C, N): the mean over the voxels of each of the N = prod(grid) patches."""
    return F.interpolate(values.float(), size=tuple(grid), mode="area").flatten(2)


def shares(target: Tensor, classes: int) -> Tensor:
    """Classes (B, *S), or :data:`IGNORE`, -> (B, K, *S): 1 for a voxel's class, 0s where it is unknown."""
    every = torch.arange(classes, device=target.device).view(-1, *[1] * (target.ndim - 1))
    return (target.unsqueeze(1) == every).float()


def patch_labels(probabilities: Tensor, grid: Sequence[int], *, majority: float = 0.0) -> Tensor:
    """The class with the largest share of each patch.

    Args:
        probabilities: (B, K, *S), all 0 where nothing is known.
        grid: positions per axis.
        majority: smallest share that is enough.

    Returns:
        (B, N) int64, :data:`IGNORE` where no class has that share, or nothing is known.
    """
    share, label = pooled(probabilities, grid).max(1)
    return label.where((share > 0) & (share >= majority), IGNORE)


def draw(count: int, *values: Tensor) -> list[Tensor]:
    """The same ``count`` positions, drawn at random for each scan, of each of (B, ..., N); all N if fewer."""
    n = values[0].shape[-1]
    if n <= count:
        return list(values)
    drawn = torch.rand((len(values[0]), n), device=values[0].device).topk(count).indices
    return [v.gather(-1, _spread(drawn, v)) for v in values]


def _spread(index: Tensor, like: Tensor) -> Tensor:
    between = like.shape[1:-1]
    return index.view(len(index), *[1] * len(between), -1).expand(-1, *between, -1)
