"""Entropy minimization: a prediction should be sure of itself, on unlabeled scans too."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import entropy_loss
from semiseg.methods._ramped import Ramped
from semiseg.option_values import Amount, Length


class EntropyMin(Ramped):
    """One network whose predictions are made sharp on all scans, whatever they say.

    ``L = 0.5 (CE + Dice)(p(x_l), y_l) + w(k) H`` with H the mean over all voxels of [x_l, x_u] of
    ``-sum_c p_c ln(p_c + 1e-6) / ln K``, which lies in [0, 1].

    Paper: Entropy Minimization, Grandvalet & Bengio, NIPS 2004, for segmentation ADVENT, Vu et al.,
    CVPR 2019, arXiv:1811.12833.
    Networks: 1 (1 trained). Views: weak. Work: 1.0.

    The cheapest of all: no second network, no second pass. The gradient flows through the probabilities and
    the logarithm, and labeled scans take part in H. With a large weight before the supervised loss has
    settled all voxels go to one class, of which the network is then very sure; hence the ramp.

    The published scripts divide by the logarithm of a fixed number of classes, here it is the network's.

    Args:
        make_net: returns a fresh network.
        weight: w_max, the weight of H at the end of the ramp.
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run, as published (200
            units of 150).
        ramp_unit: the ramp moves in stairs of this many iterations (150 in the published codes).
        include_background: count class 0 in the Dice term.
    """

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 0.1,
        ramp: Length | None = None,
        ramp_unit: Length = 1,
        include_background: bool = True,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp, ramp_unit=ramp_unit, include_background=include_background)
        self.net = make_net()

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One forward on [x_l, x_u], one update."""
        logits = self.net(torch.cat([batch.x_l, batch.x_u["weak"]])).logits
        supervised = self.supervised(logits[: len(batch.x_l)], batch.y_l)
        yield self.total(supervised, entropy_loss(logits.float().softmax(1)), t)
