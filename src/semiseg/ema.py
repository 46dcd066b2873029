"""Exponential moving averages of weights (Tarvainen & Valpola 2017, arXiv:1703.01780)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def warm_decay(step: int, decay: float) -> float:
    """``min(1 - 1 / (step + 1), decay)`` with the iteration counted from 0.

    The first coefficient is 0, so the average starts as an exact copy; until the cap it is the plain mean of
    all weights so far.
    """
    return min(1.0 - 1.0 / (step + 1), decay)


@torch.no_grad()
def ema_update(average: nn.Module, source: nn.Module, decay: float, *, buffers: bool = False) -> None:
    """``average <- decay * average + (1 - decay) * source`` in place.

    Buffers (batch-norm statistics) stay the average network's own, as in most published medical codes, unless
    ``buffers`` is true; counters always do.
    """
    pairs: list[tuple[Tensor, Tensor]] = [*zip(average.parameters(), source.parameters(), strict=True)]
    if buffers:
        both = zip(average.buffers(), source.buffers(), strict=True)
        pairs += [(a, s) for a, s in both if a.is_floating_point()]
    target, new = zip(*((a.data, s.data) for a, s in pairs), strict=True)
    torch._foreach_lerp_(list(target), list(new), 1.0 - decay)
