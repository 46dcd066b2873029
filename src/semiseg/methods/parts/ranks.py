"""Sums over all processes of a run, for what a method remembers; gradients are the engine's business.

What a method has to know of its network before the first batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semiseg.errors import UsageError


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum over all ranks, in place; the values themselves in a single process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
    return values


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean over all ranks; the values themselves in a single process."""
    both = sum_over_ranks(torch.stack([values, torch.ones_like(values)]))
    return both[0] / both[1]


def fact(network: nn.Module, name: str, method: str) -> int:
    """``dim``, ``classes`` or ``in_channels``, as the network says.

    Raises:
        UsageError: it does not say it.
    """
    value = getattr(network, name, None)
    if value is None:
        raise UsageError(
            f"{method} needs a network that says its {name}, and {type(network).__name__} does not",
            hint=f"choose another network (`semiseg networks`), or give yours an attribute {name!r}",
        )
    return int(value)
