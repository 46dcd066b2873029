"""SASSNet: predicted shapes of unlabeled scans should pass for those of labeled ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from semiseg.core import Batch, Clock, NetFactory, OptimizerFactory, Update
from semiseg.losses import dice_loss, distance_loss
from semiseg.methods._bases import Ramped, fact
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.dtc import segment_and_measure, with_distance_head
from semiseg.methods.parts.critic import Critic, adam, only_judging, origin_loss, without_trace
from semiseg.settings.options import Amount, Length


class SASSNet(Ramped):
    """Distance maps, and a critic that compares their shapes.

    ``L = Dice(p(x_l), y_l) + b MSE(z(x_l), g) + w(k) CE(critic(z(x_u), x_u), labeled)``, then the critic
    learns ``CE(critic(z(x), x), labeled or not)`` on all scans; p is the softmax of the foreground classes,
    and z the tanh of a second head with a channel for each of them. g is the normalized signed distance to
    y_l.

    The critic has its own Adam at a constant rate; its passes are not part of the work (on the published
    V-Net they are 0.5 more). As in the code, the network is in train mode when it tries to fool the critic.
    When the critic learns, the network is in eval mode and has its new weights. Both losses are
    cross-entropies, where the paper states a minimax game. The adversarial term is small by design: below
    0.01 of a loss around 1.

    The paper has one class; for more, each has its own distance channel. The critic may then learn which
    classes are in a crop instead of their shapes. With any number of classes it can do so where labeled crops
    are cut around foreground, which unlabeled ones cannot be: ``plan.foreground=0``, as published, treats
    both alike. For a class that is not in the crop, see ``dtc``.

    Args:
        make_net: returns a fresh network with the heads asked for.
        weight: w_max, the weight of the adversarial term at the end of the ramp (0.01 with 16 labeled scans,
            0.015 with 8).
        distance_weight: b.
        reuse_forward: let the critic learn from the distances of the first forward pass instead of a second
            one: cheaper by a fifth, but from train mode and from weights that are one step older.
        critic_width: channels of the critic's first layer.
        absent: distance to a class that is not in the crop: ``ones``, or ``zeros`` (published).
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run, as published (40
            units of 150).
    """

    facts = Facts(
        title="SASSNet",
        family="Adversarial",
        papers=(Paper("SASSNet", "Li, Zhang & He", "MICCAI", 2020, "arXiv:2007.10732"),),
        networks=1,
        trained=1,
        beside="a critic",
        work=1.3,
    )

    trainable = ("net", "critic")
    optimizers: ClassVar[Mapping[str, OptimizerFactory]] = {"critic": adam}

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 0.01,
        distance_weight: Amount = 0.3,
        reuse_forward: bool = False,
        critic_width: Length = 64,
        absent: Literal["ones", "zeros"] = "ones",
        ramp: Length | None = None,
        ramp_unit: Length = 1,
    ) -> None:
        super().__init__(weight=weight, ramp=ramp, ramp_unit=ramp_unit)
        self.net = with_distance_head(make_net, "sassnet")
        dim, classes, channels = (
            fact(self.net, name, "sassnet") for name in ("dim", "classes", "in_channels")
        )
        self.critic = Critic(dim, classes - 1, channels, width=critic_width)
        self.distance_weight, self.reuse_forward = distance_weight, reuse_forward
        self.targets = ("sdf",)
        if absent == "zeros":
            self.targets = ("sdf_published",)
            self.deviates(
                "sassnet: a class that is not in a crop is boundary everywhere, as published",
                as_published=True,
            )
        if reuse_forward:
            self.deviates("sassnet: the critic learns from the network in train mode, before its step")

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One forward and an update of the network, then another forward and an update of the critic."""
        n, x = len(batch.x_l), torch.cat([batch.x_l, batch.x_u["weak"]])
        p, z = segment_and_measure(self.net, x)
        dice = dice_loss(p[:n], batch.y_l, include_background=False)
        distance = distance_loss(z[:n], batch.targets[self.targets[0]], batch.y_l)
        adversarial = self.fool(z[n:], x[n:])
        w = self.consistency_weight(t)
        parts = {"dice": dice, "distance": distance, "adversarial": adversarial, "weight": torch.tensor(w)}
        yield Update(dice + self.distance_weight * distance + w * adversarial, logs=parts)

        if not self.reuse_forward:
            with without_trace(self.net):
                z = segment_and_measure(self.net, x)[1]
        mistakes = origin_loss(self.critic(z.detach(), x), n)
        yield Update(mistakes, on="critic", logs={"critic": mistakes}, counts=False)

    def fool(self, z: Tensor, x: Tensor) -> Tensor:
        """How far the critic is from calling unlabeled samples labeled; the gradient passes through it."""
        with only_judging(self.critic):
            return origin_loss(self.critic(z, x), len(x))
