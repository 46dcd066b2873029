"""What a network says of the same voxels in two crops (Liu et al. 2022, arXiv:2203.14523)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from semiseg.losses.agreement import softmax_kl

Form = Literal["classes", "released"]

Pair = tuple[Tensor, Tensor]
"""Logits (K, *O) of the overlap in the first crop and in the second one."""


def translation_consistency(pairs: Sequence[Pair], *, form: Form = "classes") -> Tensor:
    """The mean over images of ``KL(p' || p)``, averaged over the overlap; both sides get a gradient.

    The release clamps the logits to [1e-6, 1], takes the distributions along the first spatial axis instead
    of the classes, averages over all elements and sums over images.

    Args:
        pairs: of each image whose crops overlap.
        form: ``classes``, or ``released``.

    Returns:
        A scalar, at least 0 up to rounding; 0 without a pair.
    """
    if not pairs:
        return torch.zeros(())
    if form == "classes":
        return torch.stack([softmax_kl(z[None], other[None]) for z, other in pairs]).mean()
    clamped = [(_clamped(z)[None].movedim(2, 1), _clamped(other)[None].movedim(2, 1)) for z, other in pairs]
    return torch.stack([softmax_kl(z, other, reduction="none").mean() for z, other in clamped]).sum()


def saddle_entropy(pairs: Sequence[Pair]) -> Tensor:
    """The mean over crops of ``sum_k s_k ln s_k`` on the overlap, s the softmax of the clamped logits.

    Least, -ln K, where all classes are equally likely: it keeps the agreement of two crops from collapsing.
    Since logits are clamped to [1e-6, 1], it can only rise by so much.
    """
    if not pairs:
        return torch.zeros(())
    log_s = [_clamped(z).log_softmax(0) for pair in pairs for z in pair]
    return torch.stack([(s.exp() * s).sum(0).mean() for s in log_s]).mean()


def _clamped(logits: Tensor) -> Tensor:
    return logits.float().clamp(1e-6, 1.0)
