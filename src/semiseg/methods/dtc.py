"""Dual-Task Consistency: the segmentation and a distance map of the same network must tell the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import dice_loss, distance_loss, task_consistency
from semiseg.methods._bases import Ramped, fact
from semiseg.methods._facts import Facts, Paper
from semiseg.settings.options import Amount, Length, Positive


class DTC(Ramped):
    """Class map and signed distance map must agree.

    ``L = Dice(p(x_l), y_l) + b MSE(z(x_l), g) + w(k) mean (sigmoid(-1500 z) - p)^2`` with all scans in the
    last term. p is the softmax of the foreground classes, and z the tanh of a second head with a channel for
    each of them. g is the normalized signed distance to y_l, negative inside.

    The paper has one class; for more, each has its own channel and Dice, which are averaged, and softmax
    instead of a sigmoid. The supervised loss has no cross-entropy, as in the code. Nothing is detached, but
    the steep sigmoid lets the distances learn from the last term only near their zero.

    Distances are in voxels of the crop. In the released code, a class that is not in the crop has distance 0
    everywhere. As a mask that is 1/2 everywhere, and pulls the segmentation to it. Here all of the crop is
    outside.

    Args:
        make_net: returns a fresh network with the heads asked for.
        distance_weight: b.
        steepness: of the sigmoid, 1500 above.
        absent: distance to a class that is not in the crop: ``ones``, or ``zeros`` (published).
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run, as published (40
            units of 150).
    """

    facts = Facts(
        title="DTC",
        family="Several heads or decoders",
        papers=(Paper("DTC", "Luo et al.", "AAAI", 2021, "arXiv:2009.04448"),),
        networks=1,
        trained=1,
        work=1.0,
    )

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 1.0,
        distance_weight: Amount = 0.3,
        steepness: Positive = 1500.0,
        absent: Literal["ones", "zeros"] = "ones",
        ramp: Length | None = None,
        ramp_unit: Length = 1,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp, ramp_unit=ramp_unit)
        self.net = with_distance_head(make_net, "dtc")
        self.distance_weight, self.steepness = distance_weight, steepness
        self.targets = ("sdf",)
        if absent == "zeros":
            self.targets = ("sdf_published",)
            self.deviates(
                "dtc: a class that is not in a crop is boundary everywhere, as published", as_published=True
            )

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One forward on [x_l, x_u], one update."""
        n = len(batch.x_l)
        p, z = segment_and_measure(self.net, torch.cat([batch.x_l, batch.x_u["weak"]]))
        dice = dice_loss(p[:n], batch.y_l, include_background=False)
        distance = distance_loss(z[:n], batch.targets[self.targets[0]], batch.y_l)
        consistency = task_consistency(z, p, steepness=self.steepness)
        w = self.consistency_weight(t)
        parts = {"dice": dice, "distance": distance, "consistency": consistency, "weight": torch.tensor(w)}
        yield Update(dice + self.distance_weight * distance + w * consistency, logs=parts)


HEAD = "sdf"


def with_distance_head(make_net: NetFactory, method: str) -> nn.Module:
    """A fresh network with one distance channel per foreground class.

    Their number is read off a first network, whose random draws are taken back: the weights in common are
    those that ``make_net()`` would have drawn.

    Raises:
        UsageError: a network that does not say how many classes it has.
    """
    with torch.random.fork_rng(devices=[]):
        classes = fact(make_net(), "classes", method)
    return make_net(heads={HEAD: classes - 1})


def segment_and_measure(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax (B, K, *S) and distances (B, K-1, *S) in (-1, 1) by tanh, both in float32."""
    answer = network(x)
    return answer.logits.float().softmax(1), torch.tanh(answer.heads[HEAD].float())
