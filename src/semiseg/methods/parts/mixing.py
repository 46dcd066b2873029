"""Samples paired and mixed: halves of a batch, mixup, and the factors of mixup."""

from __future__ import annotations

import torch
from torch import Tensor


def beta_factors(n: int, alpha: float, like: Tensor) -> Tensor:
    """``n`` draws of Beta(alpha, alpha), one per pair, shaped (n, 1, *1) to fit ``like`` (B, C, *S).

    With alpha = 0.2 most draws are close to 0 or 1 (58 % within 0.05).
    """
    concentration = torch.full((n,), alpha, dtype=torch.float32, device=like.device)
    factors: Tensor = torch.distributions.Beta(
        concentration,
        concentration,
        validate_args=False,  # looking at the values would wait for the device
    ).sample()
    return factors.view(n, *[1] * (like.ndim - 1))


def mixup(first: Tensor, second: Tensor, factor: Tensor) -> Tensor:
    """``(1 - f) first + f second`` (Zhang et al. 2018, arXiv:1710.09412), for images and probabilities alike.

    Args:
        first: (B, C, *S).
        second: (B, C, *S).
        factor: (B, 1, *1) in [0, 1], the share of the *second*.
    """
    return (1.0 - factor) * first + factor * second


def half(n: int) -> int:
    """Half of n, rounded up."""
    return -(-n // 2)


def groups(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The first n samples and the next n, starting again where they end."""
    rounds = -(-2 * n // len(x))
    first, second = torch.split(torch.cat([x] * rounds)[: 2 * n], n)
    return first, second
