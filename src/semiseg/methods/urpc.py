"""Uncertainty Rectified Pyramid Consistency: all resolutions of the decoder should predict the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import pyramid_consistency
from semiseg.methods._ramped import Ramped
from semiseg.parts.branches import Perturbation, all_logits
from semiseg.parts.perturbations import channel_dropout, feature_drop, feature_dropout, feature_noise
from semiseg.parts.pyramid import Pyramid

_PERTURBATIONS: dict[str, Sequence[Perturbation]] = {
    "mixed": (partial(feature_dropout, rate=0.5), feature_drop, feature_noise),
    "dropout": tuple(partial(channel_dropout, rate=rate) for rate in (0.5, 0.3, 0.2)),
}
"""Coarsest first."""


class URPC(Ramped):
    """One network that predicts from four resolutions of its decoder, which are drawn to their mean.

    ``L = mean_s 0.5 (CE + Dice)(p_s(x_l), y_l) + w(k) mean_s C_s(x_u)`` with ``C_s = mean((m - p_s)^2
    exp(-D_s)) / mean(exp(-D_s)) + mean(D_s)``, m the mean of the softmax p_s of all scales s at full
    resolution, and ``D_s = KL(m || p_s)`` per voxel, which stands for the uncertainty.

    Paper: URPC, Luo et al., Medical Image Analysis 2022, doi:10.1016/j.media.2022.102517; first MICCAI 2021,
    arXiv:2012.07042.
    Networks: 1 (1 trained) with three more heads. Views: weak. Work: 1.0.

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

    predictor = "main"

    def __init__(
        self,
        make_net: NetFactory,
        *,
        scales: Literal[2, 3, 4] = 4,
        perturbation: Literal["mixed", "dropout"] = "mixed",
        **ramped: Any,
    ) -> None:
        super().__init__(**ramped)
        self.net = Pyramid(make_net(), scales, _PERTURBATIONS[perturbation], "urpc")

    @property
    def main(self) -> nn.Module:
        """The network for prediction."""
        return self.net.main

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One forward on [x_l, x_u], one update."""
        n = len(batch.x_l)
        answers = all_logits(self.net(torch.cat([batch.x_l, batch.x_u["weak"]])))
        supervised = torch.stack([self.supervised(z[:n], batch.y_l) for z in answers]).mean()
        yield self.total(supervised, pyramid_consistency([z[n:] for z in answers]).mean(), t)
