"""Deep co-training as it was released: what is seen does not depend on how the scan is turned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

import torch
from torch import Tensor

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import softmax_mse
from semiseg.methods._bases import Ramped, RampedOptions
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.transforms import Symmetry, turns


class DeepCoTraining(Ramped):
    """A scan and its rotated copy must get the same answer.

    ``L = 0.5 (CE + Dice)(p(x_l), y_l) + w(k) 0.5 [MSE(sg p', turn p) + MSE(p', sg turn p)]`` with p the
    softmax on x_u, p' that on turn(x_u), and sg no gradient. The whole batch has one turn, by 0, 90, 180 or
    270 degrees.

    The paper's method has two networks and adversarial examples. What SSL4MIS released under its name, and
    what this is, has neither: it is a consistency under rotation. A turn by 0 degrees, a quarter of the
    steps, still compares two passes that differ by dropout and batch statistics.

    The two halves are the squared error with half its gradient. Scans turn in the plane of their last two
    axes in 2D, of the first two in 3D; half a turn or none where that plane is not square.
    """

    facts = Facts(
        title="Deep Co-Training",
        family="Views and mixing",
        papers=(Paper("Deep Co-Training", "Qiao et al.", "ECCV", 2018, "arXiv:1803.05984"),),
        networks=1,
        trained=1,
        work=1.5,
    )

    partial = True

    def __init__(self, make_net: NetFactory, **ramped: Unpack[RampedOptions]) -> None:
        super().__init__(**ramped)
        self.net = make_net()

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One forward on [x_l, x_u], one on the turned x_u, one update."""
        x_u = batch.x_u["weak"]
        turn = draw_turn(x_u)
        z_l, z_u = self.net(torch.cat([batch.x_l, x_u])).logits.split([len(batch.x_l), len(x_u)])
        turned = self.net(turn.apply(x_u)).logits
        yield self.total(self.supervised(z_l, batch.y_l), self.consistency(turn.apply(z_u), turned), t)

    def consistency(self, logits: Tensor, turned: Tensor) -> Tensor:
        """Squared difference of two predictions (Bu, K, *S) of the same voxels, with half its gradient."""
        there = softmax_mse(logits, turned.detach())
        back = softmax_mse(turned, logits.detach())
        return 0.5 * (there + back)


def draw_turn(images: Tensor) -> Symmetry:
    """A turn that keeps the shape (B, C, *S), all equally likely, from torch's CPU generator."""
    first, second = images.shape[2:4]
    step = 1 if first == second else 2
    times = step * int(torch.randint(4 // step, ()))
    return turns(images.ndim - 2, times)
