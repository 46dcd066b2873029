"""Tutorial 5: a method in one file. `semiseg train DATASET --method agreeing_teacher:AgreeingTeacher`."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch

from semiseg.core import Batch, Clock, Method, NetFactory, Update
from semiseg.losses import dice_ce
from semiseg.methods import Facts, Paper
from semiseg.schedules import consistency_ramp
from semiseg.settings.options import Amount, Share


class AgreeingTeacher(Method):
    """A teacher teaches only where it is confident.

    ``L = 0.5 (CE + Dice)(net(x_l), y_l) + w(k) mean over {max q >= t} of |p - q|^2``, p of net, q of teacher.

    An example: the threshold is the only difference to a plain mean teacher.

    Args:
        make_net: returns a fresh network.
        weight: of the second term at the end of its ramp.
        threshold: smallest confidence of the teacher that counts.
        decay: of the teacher's moving average.
    """

    facts = Facts(
        title="Agreeing Teacher",
        family="Mean teachers",
        papers=(Paper("Mean Teacher", "Tarvainen & Valpola", "NIPS", 2017, "arXiv:1703.01780"),),
        networks=2,
        trained=1,
        work=1.2,
    )

    def __init__(
        self, make_net: NetFactory, *, weight: Amount = 0.1, threshold: Share = 0.7, decay: Share = 0.99
    ) -> None:
        super().__init__()
        self.net = make_net()
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)
        self.weight, self.threshold, self.decay = weight, threshold, decay

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One update: the supervised loss, and agreement with the teacher on unlabeled scans."""
        x_u = batch.x_u["weak"]
        with torch.no_grad():
            q = self.teacher(x_u).logits.float().softmax(1)
        z_l, z_u = self.net(torch.cat([batch.x_l, x_u])).logits.split([len(batch.x_l), len(x_u)])
        supervised = dice_ce(z_l, batch.y_l)
        confident = (q.amax(1, keepdim=True) >= self.threshold).float()
        squared = (z_u.float().softmax(1) - q).square() * confident
        agreement = squared.sum() / confident.sum().clamp(min=1) / q.shape[1]
        weight = self.weight * consistency_ramp(t.step, t.total, 1)
        logs = {"supervised": supervised.detach(), "agreement": agreement.detach()}
        yield Update(supervised + weight * agreement, logs=logs)

    def after_step(self, t: Clock) -> None:
        """Move the teacher a little towards the network."""
        with torch.no_grad():
            for old, new in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
                old.lerp_(new, 1 - self.decay)
