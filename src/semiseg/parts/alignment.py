"""Predictions on unlabeled scans, moved to the class shares of those on labeled ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semiseg.parts.ranks import sum_over_ranks


class Shares(nn.Module):
    """Running means of class shares, in rows, bias-corrected so that the first batch counts in full.

    A row stands for all voxels (one row), or for the voxels of one class each (K rows).

    Args:
        rows: how many.
        classes: K.
        momentum: of the running mean, below 1; 0 keeps the current batch alone.
    """

    total: Tensor
    weight: Tensor

    def __init__(self, rows: int, classes: int, momentum: float = 0.99) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("total", torch.zeros(rows, classes))
        self.register_buffer("weight", torch.zeros(rows, 1))

    @property
    def mean(self) -> Tensor:
        """(R, K) float32, rows that sum to 1, or to 0 before anything was seen."""
        return self.total / self.weight.clamp_min(1e-12)

    @property
    def seen(self) -> Tensor:
        """(R, 1) bool: which rows have had a voxel."""
        return self.weight > 0

    @torch.no_grad()
    def update(self, probabilities: Tensor, rows: Tensor) -> None:
        """Take in a batch, over the voxels of all ranks; a row without a voxel stays as it is.

        Args:
            probabilities: (B, K, *S) float32.
            rows: (B, *S) int64, the row of each voxel; outside of [0, R) where it counts for none.
        """
        here = rows.flatten() == torch.arange(len(self.total), device=rows.device)[:, None]
        p = probabilities.movedim(1, 0).flatten(1)
        sums = torch.stack([torch.where(row, p, 0.0).sum(1) for row in here])
        sums = sum_over_ranks(torch.cat([sums, here.sum(1, keepdim=True)], dim=1))
        voxels = sums[:, -1:]
        new = sums[:, :-1] / voxels.clamp_min(1.0)
        seen = (voxels > 0) & new.isfinite().all(1, keepdim=True)  # a bad batch must not spoil the memory
        kept = 1.0 - self.momentum
        self.total.copy_(torch.where(seen, self.momentum * self.total + kept * new, self.total))
        self.weight.copy_(torch.where(seen, self.momentum * self.weight + kept, self.weight))


def share_ratio(wanted: Tensor, found: Tensor, *, limit: float = 10.0, eps: float = 1e-6) -> Tensor:
    """``(wanted + eps) / (found + eps)`` within [1 / limit, limit] (Berthelot et al. 2020, arXiv:1911.09785).

    Args:
        wanted: (R, K) class shares on labeled scans.
        found: (R, K) those on unlabeled scans.
        limit: at least 1.
        eps: keeps classes without a share from dividing by 0.
    """
    return ((wanted + eps) / (found + eps)).clamp(1.0 / limit, limit)


def align(probabilities: Tensor, ratio: Tensor, rows: Tensor) -> Tensor:
    """``r_c p_c / sum_j r_j p_j`` at every voxel, with r the ratio of the voxel's row.

    Args:
        probabilities: (B, K, *S).
        ratio: (R, K), above 0.
        rows: (B, *S) int64 in [0, R).
    """
    scaled = probabilities * ratio[rows].movedim(-1, 1)
    return scaled / scaled.sum(1, keepdim=True)
