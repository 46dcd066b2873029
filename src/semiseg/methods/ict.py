"""Interpolation Consistency Training: the prediction of a mixture is the mixture of the predictions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.methods._bases import Teacher
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.mixing import beta_factors, mixup
from semiseg.settings.options import Amount, Length, Positive, Share


class ICT(Teacher):
    """Mean Teacher on mixed pairs of unlabeled scans.

    ``L = 0.5 (CE + Dice)(student(x_l), y_l) + w(k) MSE(softmax student(mix(u0, u1)), mix(q0, q1))`` with
    ``q = softmax teacher(u)`` and ``mix(a, b) = (1 - f) a + f b``, one ``f ~ Beta(alpha, alpha)`` per pair.

    The student sees the labeled scans and the mixtures, half as many as there are unlabeled scans. It never
    sees an unlabeled scan itself, so a step is less work than a supervised one. Probabilities are mixed, not
    logits. The teacher sees u0 and u1 in a pass each, since batch norm sees who shares one. The released
    code wants as many unlabeled scans as labeled ones, an even number; here the two halves of an odd number
    share the middle one, and a single scan is mixed with itself.

    Args:
        alpha: of the Beta distribution; below 1 most mixtures are close to one of the two.
        pairing: ``halves`` of the batch (the segmentation codes), or ``shuffle``: every scan with a random
            one (the classification paper).
    """

    facts = Facts(
        title="ICT",
        family="Mean teachers",
        papers=(
            Paper("ICT", "Verma et al.", "IJCAI", 2019, "arXiv:1903.03825"),
            Paper("", "Basak et al.", "ISBI", 2022, "arXiv:2202.00677", role="for segmentation"),
        ),
        networks=2,
        trained=1,
        work=0.9,
    )

    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 0.1,
        decay: Share = 0.99,
        ramp: Length | None = None,
        ramp_unit: Length = 1,
        alpha: Positive = 0.2,
        pairing: Literal["halves", "shuffle"] = "halves",
        teacher_mode: Literal["train", "eval"] = "train",
        predict_with: Literal["student", "teacher"] = "student",
        include_background: bool = True,
    ) -> None:
        super().__init__(
            make_net,
            weight=weight,
            decay=decay,
            ramp=ramp,
            ramp_unit=ramp_unit,
            teacher_mode=teacher_mode,
            predict_with=predict_with,
            include_background=include_background,
        )
        self.alpha, self.pairing = alpha, pairing

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """Two passes of the teacher, one student forward on [x_l, mixtures], one update."""
        u0, u1 = self.pair(batch.x_u["weak"])
        factor = beta_factors(len(u0), self.alpha, u0)
        q0, q1 = (z.float().softmax(1) for z in self.ask([u0, u1]))
        logits = self.net(torch.cat([batch.x_l, mixup(u0, u1, factor)])).logits
        z_l, z_mix = logits.split([len(batch.x_l), len(u0)])

        consistency = (z_mix.float().softmax(1) - mixup(q0, q1, factor)).square().mean()
        yield self.total(self.supervised(z_l, batch.y_l), consistency, t)

    def pair(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The two scans of every pair."""
        if self.pairing == "shuffle":
            return x, x[torch.randperm(len(x), device=x.device)]
        half = (len(x) + 1) // 2
        return x[:half], x[-half:]
