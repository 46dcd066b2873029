"""Sums over all processes of a run, for what a method remembers; gradients are the engine's business."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over all ranks, in place; the values themselves in a single process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
    return values


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean over all ranks; the values themselves in a single process."""
    both = sum_over_ranks(torch.stack([values, torch.ones_like(values)]))
    return both[0] / both[1]
