"""Exponential moving averages of weights (Tarvainen & Valpola 2017, arXiv:1703.01780)."""

from __future__ import annotations

import torch
from torch import nn


def warm_decay(step: int, decay: float) -> float:
    """``min(1 - 1 / (step + 1), decay)`` with the iteration counted from 0.

    The first coefficient is 0, so the average starts as an exact copy; until the cap it is the plain mean of
    all weights so far.
    """
    return min(1.0 - 1.0 / (step + 1), decay)


@torch.no_grad()
def ema_update(average: nn.Module, source: nn.Module, decay: float) -> None:
    """``average <- decay * average + (1 - decay) * source`` in place, for parameters only.

    Buffers (batch-norm statistics) stay the average network's own, as in every published medical code.
    """
    pairs = zip(average.parameters(), source.parameters(), strict=True)
    target, new = zip(*((a.data, s.data) for a, s in pairs), strict=True)
    torch._foreach_lerp_(list(target), list(new), 1.0 - decay)
