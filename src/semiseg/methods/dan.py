"""DAN: predictions on unlabeled scans should pass for predictions on labeled ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Unpack

import torch

from semiseg.core import Batch, Clock, NetFactory, OptimizerFactory, Update
from semiseg.methods._bases import Ramped, RampedOptions, fact
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.critic import Critic, adam, only_judging, origin_loss, without_trace
from semiseg.settings.options import Length


class DAN(Ramped):
    """A critic tries to tell which scans have labels.

    ``L = 0.5 (CE + Dice)(p(x_l), y_l) + w(k) CE(critic(p(x_u), x_u), labeled)``, then the critic learns
    ``CE(critic(p(x), x), labeled or not)`` on all scans; p is the softmax.

    This is the form of SSL4MIS. The network is in train mode when it tries to fool the critic, and in eval
    mode with its new weights when the critic learns; the critic has dropout only when it learns. It has its
    own Adam at a constant rate; its passes are not part of the work.

    The critic is that of ``sassnet``, of all classes instead of distances. The published 2D form lacks the
    first activation and pools to 2 x 2 means; both are made for one size of input (256 or 224 in 2D, 96 in
    3D), ours takes any. Of 256 voxels the original pools the first 14 of 16 positions per axis, ours all. The
    code needs as many unlabeled as labeled scans; here any numbers do.

    Where labeled crops are cut around foreground, which unlabeled ones cannot be, the critic can tell them
    apart by that: ``plan.foreground=0``, as published, treats both alike.

    Args:
        critic_width: channels of the critic's first layer.
    """

    facts = Facts(
        title="DAN",
        family="Adversarial",
        papers=(Paper("DAN", "Zhang et al.", "MICCAI", 2017, "doi:10.1007/978-3-319-66179-7_47"),),
        networks=1,
        trained=1,
        beside="a critic",
        work=1.3,
    )

    partial = True
    trainable = ("net", "critic")
    optimizers: ClassVar[Mapping[str, OptimizerFactory]] = {"critic": adam}

    def __init__(
        self, make_net: NetFactory, *, critic_width: Length = 64, **ramped: Unpack[RampedOptions]
    ) -> None:
        super().__init__(**ramped)
        self.net = make_net()
        dim, classes, channels = (fact(self.net, name, "dan") for name in ("dim", "classes", "in_channels"))
        self.critic = critic_of(dim, classes, channels, critic_width)

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One forward and an update of the network, then another forward and an update of the critic."""
        x, n = torch.cat([batch.x_l, batch.x_u["weak"]]), len(batch.x_l)
        logits = self.net(x).logits.float()
        with only_judging(self.critic):
            answers = self.critic(logits[n:].softmax(1), x[n:])
        supervised = self.supervised(logits[:n], batch.y_l)
        yield self.total(supervised, origin_loss(answers, len(answers)), t)

        with without_trace(self.net):
            p = self.net(x).logits.float().softmax(1)
        mistakes = origin_loss(self.critic(p, x), n)
        yield Update(mistakes, on="critic", logs={"critic": mistakes}, counts=False)


def critic_of(dim: int, classes: int, channels: int, width: int) -> Critic:
    """The published form for this number of axes, for an input of any size."""
    if dim == 2:
        return Critic(dim, classes, channels, width=width, activate_sum=False, cells=2)
    return Critic(dim, classes, channels, width=width)
