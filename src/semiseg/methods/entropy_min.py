"""Entropy minimization: a prediction should be sure of itself, on unlabeled scans too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

import torch

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import entropy_loss
from semiseg.methods._bases import Ramped, RampedOptions
from semiseg.methods._facts import Facts, Paper


class EntropyMin(Ramped):
    """Make predictions on all scans more confident.

    ``L = 0.5 (CE + Dice)(p(x_l), y_l) + w(k) H`` with H the mean over all voxels of [x_l, x_u] of
    ``-sum_c p_c ln(p_c + 1e-6) / ln K``, which lies in [0, 1].

    The cheapest of all: no second network, no second pass. The gradient flows through the probabilities and
    the logarithm, and labeled scans take part in H. With a large weight before the supervised loss has
    settled all voxels go to one class, of which the network is then very sure; hence the ramp.

    The published scripts divide by the logarithm of a fixed number of classes, here it is the network's.
    """

    facts = Facts(
        title="Entropy Minimization",
        family="Baselines",
        papers=(
            Paper("Entropy Minimization", "Grandvalet & Bengio", "NIPS", 2004, ""),
            Paper("ADVENT", "Vu et al.", "CVPR", 2019, "arXiv:1811.12833", role="for segmentation"),
        ),
        networks=1,
        trained=1,
        work=1.0,
    )

    partial = True

    def __init__(self, make_net: NetFactory, **ramped: Unpack[RampedOptions]) -> None:
        super().__init__(**ramped)
        self.net = make_net()

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One forward on [x_l, x_u], one update."""
        logits = self.net(torch.cat([batch.x_l, batch.x_u["weak"]])).logits
        supervised = self.supervised(logits[: len(batch.x_l)], batch.y_l)
        yield self.total(supervised, entropy_loss(logits.float().softmax(1)), t)
