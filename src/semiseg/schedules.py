"""Ramps and learning-rate factors, pure functions of the iteration; the moving average of weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sigmoid_rampup(current: float, length: float) -> float:
    """``exp(-5 (1 - t)^2)`` with t = current / length clipped to [0, 1]; from e^-5 = 0.0067 to 1.

    The consistency ramp of the field (Laine & Aila 2017, arXiv:1610.02242). A length of 0 gives 1.
    """
    if length == 0:
        return 1.0
    t = min(max(current / length, 0.0), 1.0)
    return math.exp(-5.0 * (1.0 - t) ** 2)


def linear_rampup(current: float, length: float) -> float:
    """``current / length`` clipped to [0, 1]; a length of 0 gives 1."""
    return 1.0 if length == 0 else min(max(current / length, 0.0), 1.0)


def cosine_rampdown(current: float, length: float) -> float:
    """``(cos(pi t) + 1) / 2`` with t = current / length clipped to [0, 1]; from 1 to 0 (arXiv:1608.03983)."""
    return 0.5 * (math.cos(math.pi * min(max(current / length, 0.0), 1.0)) + 1.0)


def consistency_ramp(step: int, length: float, unit: int = 1) -> float:
    """The sigmoid ramp over ``length`` iterations, moved in stairs of ``unit`` iterations.

    The published scripts count pseudo-epochs of 150 iterations: ``consistency_ramp(k, 40 * 150, unit=150)``.
    """
    return sigmoid_rampup(step // unit, length / unit)


def geometric(current: float, length: float, first: float, last: float) -> float:
    """``first (last / first)^t`` with t = current / length clipped to [0, 1]: equal steps, equal ratios.

    The sharpness of DyCON's consistency (Assefa et al. 2025, arXiv:2504.04566). Both ends must be above 0; a
    length of 0 gives ``last``.
    """
    return float(first * (last / first) ** linear_rampup(current, length))


def poly(step: int, total: int, power: float = 0.9, lag: int = 0) -> float:
    """``(1 - (step - lag) / total)^power``, never above 1.

    ``lag=1`` is the learning rate of the field's 2D scripts, which set it after each step from that step's
    own number, so that steps 0 and 1 share the base rate.
    """
    return float((1.0 - min(max(step - lag, 0), total) / total) ** power)


def staircase(step: int, every: int, factor: float = 0.1) -> float:
    """``factor^floor(step / every)``."""
    return float(factor ** (step // every))


def warmup(step: int, length: int) -> float:
    """Linear from 1 / length to 1 over the first ``length`` steps."""
    return 1.0 if length <= 0 else min((step + 1) / length, 1.0)


def warm_decay(step: int, decay: float) -> float:
    """``min(1 - 1 / (step + 1), decay)`` with the iteration counted from 0.

    The first coefficient is 0, so the average starts as an exact copy; until the cap it is the plain mean of
    all weights so far.
    """
    return min(1.0 - 1.0 / (step + 1), decay)


@torch.no_grad()
def ema_update(average: nn.Module, source: nn.Module, decay: float, *, buffers: bool = False) -> None:
    """``average <- decay * average + (1 - decay) * source`` in place (Tarvainen & Valpola, arXiv:1703.01780).

    Buffers (batch-norm statistics) stay the average network's own, as in most published medical codes, unless
    ``buffers`` is true; counters always do.
    """
    pairs: list[tuple[Tensor, Tensor]] = [*zip(average.parameters(), source.parameters(), strict=True)]
    if buffers:
        both = zip(average.buffers(), source.buffers(), strict=True)
        pairs += [(a, s) for a, s in both if a.is_floating_point()]
    target, new = zip(*((a.data, s.data) for a, s in pairs), strict=True)
    torch._foreach_lerp_(list(target), list(new), 1.0 - decay)
