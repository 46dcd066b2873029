"""Cross-Consistency Training: decoders that get disturbed feature maps must still agree."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Unpack

import torch
from torch import Tensor

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import softmax_mse
from semiseg.methods._bases import Ramped, RampedOptions, WithMain
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.branches import (
    Branches,
    Perturbation,
    all_logits,
    feature_drop,
    feature_dropout,
    feature_noise,
)
from semiseg.settings.options import Share


class CCT(Ramped, WithMain):
    """Extra decoders must agree when their input is disturbed.

    ``L = mean_h 0.5 (CE + Dice)(p_h(x_l), y_l) + w(k) mean_a MSE(p_main(x_u), p_a(x_u))`` with h over all
    four decoders, a over the three that see disturbed maps, and p the softmax.

    The disturbances are noise in proportion to the features, dropout of single values, and the most active
    positions set to 0. Each of the maps that the encoder hands to a decoder is disturbed. Prediction uses the
    network without the further decoders. The work is that of the 2D U-Net.

    This is the form of SSL4MIS, where the main decoder is also pulled to the others and they learn from
    labels as it does. In the paper its prediction is a fixed target (``detach_main``), and the others see no
    labels. Only the deepest map is disturbed there, and there are more kinds of disturbances.

    Args:
        make_net: returns a fresh network, which must be split into encoder and decoder.
        detach_main: stop the gradient of the main decoder in the consistency term, as in the paper.
        noise: largest noise, as a share of each feature's value.
        dropout: rate of the dropout.
    """

    facts = Facts(
        title="CCT",
        family="Several heads or decoders",
        papers=(Paper("CCT", "Ouali, Hudelot & Tami", "CVPR", 2020, "arXiv:2003.09005"),),
        networks=1,
        trained=1,
        beside="three decoders",
        work=2.9,
    )

    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        detach_main: bool = False,
        noise: Share = 0.3,
        dropout: Share = 0.3,
        **ramped: Unpack[RampedOptions],
    ) -> None:
        super().__init__(**ramped)
        disturb: list[Perturbation] = [
            partial(feature_noise, limit=noise),
            partial(feature_dropout, rate=dropout),
            feature_drop,
        ]
        self.net = Branches(make_net(), [make_net() for _ in disturb], "cct", disturb)
        self.detach_main = detach_main

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One forward of all decoders on [x_l, x_u], one update."""
        n = len(batch.x_l)
        answers = all_logits(self.net(torch.cat([batch.x_l, batch.x_u["weak"]])))
        supervised = torch.stack([self.supervised(z[:n], batch.y_l) for z in answers]).mean()
        yield self.total(supervised, self.consistency([z[n:] for z in answers]), t)

    def consistency(self, answers: list[Tensor]) -> Tensor:
        """Mean squared difference of the main logits (Bu, K, *S), the first, from each of the others."""
        main, *others = answers
        target = main.detach() if self.detach_main else main
        return torch.stack([softmax_mse(z, target) for z in others]).mean()
