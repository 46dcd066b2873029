"""Uncertainty Rectified Pyramid Consistency: all resolutions of the decoder should predict the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import Batch, Clock, NetFactory, SegOutput, Update
from semiseg.errors import UsageError
from semiseg.methods._bases import Ramped, RampedOptions, WithMain, fact
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.branches import (
    Perturbation,
    all_logits,
    channel_dropout,
    feature_drop,
    feature_dropout,
    feature_noise,
)

_PERTURBATIONS: dict[str, Sequence[Perturbation]] = {
    "mixed": (partial(feature_dropout, rate=0.5), feature_drop, feature_noise),
    "dropout": tuple(partial(channel_dropout, rate=rate) for rate in (0.5, 0.3, 0.2)),
}
"""Coarsest first."""


class URPC(Ramped, WithMain):
    """Predictions at four resolutions must agree.

    ``L = mean_s 0.5 (CE + Dice)(p_s(x_l), y_l) + w(k) mean_s C_s(x_u)`` with ``C_s = mean((m - p_s)^2
    exp(-D_s)) / mean(exp(-D_s)) + mean(D_s)``, where m is the mean of the softmax p_s of all scales s at
    full resolution. ``D_s = KL(m || p_s)`` per voxel stands for the uncertainty.

    Voxels where a scale is far from the mean count less, and one pass is enough to find them. The gradient
    flows through all of it. What the heads of the coarser resolutions see is disturbed in training; the way
    through the decoder is not, and prediction uses the network without these heads.

    This is the form of SSL4MIS; the paper has p_s and m of D_s the other way around. Coarse logits are
    repeated in 2D and interpolated in 3D, as published. The published 3D network drops channels on the way
    through the decoder, where ``perturbation="dropout"`` does so before the heads.

    Args:
        make_net: returns a fresh network, which must give its levels.
        scales: resolutions that predict, the finest ones; fewer if the network has fewer.
        perturbation: of the heads' inputs, coarsest first: ``mixed``, dropout of half the values, the most
            active positions set to 0, noise (2D); or ``dropout`` of 0.5, 0.3, 0.2 of the channels (3D).
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run, as published (200
            units of 150 in 2D, 400 in 3D).
    """

    facts = Facts(
        title="URPC",
        family="Several heads or decoders",
        papers=(
            Paper("URPC", "Luo et al.", "Medical Image Analysis", 2022, "doi:10.1016/j.media.2022.102517"),
            Paper("", "", "MICCAI", 2021, "arXiv:2012.07042", role="first"),
        ),
        networks=1,
        trained=1,
        beside="three more heads",
        work=1.0,
    )

    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        scales: Literal[2, 3, 4] = 4,
        perturbation: Literal["mixed", "dropout"] = "mixed",
        **ramped: Unpack[RampedOptions],
    ) -> None:
        super().__init__(**ramped)
        self.net = Pyramid(make_net(), scales, _PERTURBATIONS[perturbation], "urpc")

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One forward on [x_l, x_u], one update."""
        n = len(batch.x_l)
        answers = all_logits(self.net(torch.cat([batch.x_l, batch.x_u["weak"]])))
        supervised = torch.stack([self.supervised(z[:n], batch.y_l) for z in answers]).mean()
        yield self.total(supervised, pyramid_consistency([z[n:] for z in answers]).mean(), t)


class Pyramid(nn.Module):
    """A network with a head on each of its coarser levels, whose logits are brought to full resolution.

    Heads are convolutions of size 3 and their logits repeated in 2D, of size 1 and interpolated in 3D, as in
    the two published networks. The state is ``main.*``, the whole network, and ``coarse.*``, the heads.

    Args:
        main: a network that gives levels.
        scales: how many resolutions predict, the full one included: the finest ones, fewer if there are
            fewer.
        perturbations: of the inputs of the heads, in training mode only; the first for the coarsest. If there
            are fewer than heads they start anew.
        method: who asks, for messages.

    Raises:
        UsageError: a network with a single level or none.
    """

    def __init__(
        self, main: nn.Module, scales: int, perturbations: Sequence[Perturbation], method: str
    ) -> None:
        super().__init__()
        widths = tuple(getattr(main, "widths", ()))[-scales:-1]
        if not widths:
            raise UsageError(
                f"{method} predicts from several levels of the decoder, and {type(main).__name__} does not "
                "give any but the last",
                hint="choose another network (`semiseg networks`), or give yours `widths` and "
                "SegOutput(..., levels=...)",
            )
        dim, classes = fact(main, "dim", method), fact(main, "classes", method)
        conv: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if dim == 2 else nn.Conv3d
        size = 3 if dim == 2 else 1
        self.mode = "nearest" if dim == 2 else "trilinear"
        self.main = main
        self.coarse = nn.ModuleList(conv(width, classes, size, padding=size // 2) for width in widths)
        self.perturbations = tuple(perturbations[i % len(perturbations)] for i in range(len(widths)))

    def forward(self, x: Tensor) -> SegOutput:
        """(B, C, *S) -> the answer of the network, with the coarser logits (B, K, *S) as its heads."""
        answer: SegOutput = self.main(x)
        size = answer.logits.shape[2:]
        heads = {}
        parts = zip(self.coarse, answer.levels[-len(self.coarse) - 1 : -1], self.perturbations, strict=True)
        for i, (head, level, perturb) in enumerate(parts, start=1):
            logits = head(perturb(level) if self.training else level)
            heads[f"coarse{i}"] = F.interpolate(logits.float(), list(size), mode=self.mode)
        return answer._replace(heads=heads)


def divergence_from_mean(logits: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """``D_s = KL(m || p_s)`` per voxel, with m the mean of the S predictions p_s.

    Returns:
        D (S, B, 1, *S), at least 0 up to rounding; p (S, B, K, *S); m (B, K, *S); all float32.
    """
    log_p = torch.stack([z.float().log_softmax(1) for z in logits])
    log_m = log_p.logsumexp(0) - math.log(len(logits))
    mean = log_m.exp()
    return (mean * (log_m - log_p)).sum(2, keepdim=True), log_p.exp(), mean


def pyramid_consistency(logits: Sequence[Tensor]) -> Tensor:
    """(S,): ``mean[(m - p_s)^2 exp(-D_s)] / (mean[exp(-D_s)] + 1e-8) + mean[D_s]`` for each scale s.

    The squared error counts less where a scale is far from the mean, and the second term keeps that from
    paying off. The gradient flows through all of it; it is 0 where all scales say the same.
    """
    divergence, p, mean = divergence_from_mean(logits)
    weight = torch.exp(-divergence)
    error = ((mean - p).square() * weight).flatten(1).mean(1) / (weight.flatten(1).mean(1) + 1e-8)
    return error + divergence.flatten(1).mean(1)
