"""Uncertainty-aware Pseudo-label and Consistency: classes of the teacher, trusted where both agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Unpack

import torch

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import confident_pseudo_label, rectified_pseudo_label
from semiseg.methods._bases import Teacher, TeacherRoles
from semiseg.methods._facts import Facts, Paper
from semiseg.schedules import ema_update, warm_decay
from semiseg.settings.options import Amount, Length, Share


class UPC(Teacher):
    """Pseudo-labels of a teacher, weighted by agreement.

    ``L = 0.5 (CE + Dice)(student(x_l + noise), y_l) + w(k) [mean(CE(p, argmax q) exp(-KL)) + mean(KL)]`` with
    ``p = softmax student(x + noise)``, ``q = softmax teacher(x)``, ``KL = KL(q || p)`` per voxel, over all
    scans, labeled ones included. No threshold, one pass of the teacher.

    The released script does not train this unless a flag is set: without it, a fixed threshold selects the
    pseudo-labels, which is what the paper argues against. ``pseudo_label="threshold"`` is that form. With
    the published decay the teacher is the plain mean of all past students for the first 9999 iterations
    (``warm_up``). That is the whole of a published run. The defaults are the released script's; its dropout
    of 0.9 is in the recipe ``la`` only.

    Args:
        warm_up: raise the decay as ``1 - 1/(k+1)`` up to its value; without it the teacher hardly moves.
        ramp: length of the ramp of w(k) in iterations (published: 6000, the run); None is the whole run.
        noise: of the *student's* input, clipped at twice its size.
        pseudo_label: ``rectified`` (published) or ``threshold``, see above.
        threshold: least probability of a pseudo-label, for ``threshold`` only.
        detach_weight: no gradient through ``exp(-KL)`` (published: it has one).
    """

    facts = Facts(
        title="UPC",
        family="Mean teachers",
        papers=(
            Paper(
                "UPC",
                "Lu et al.",
                "Biomedical Signal Processing and Control",
                2023,
                "doi:10.1016/j.bspc.2022.104203",
            ),
        ),
        networks=2,
        trained=1,
        views_if="strong, if ``student_view`` says so",
        work=1.3,
    )

    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 1.0,
        decay: Share = 0.9999,
        warm_up: bool = True,
        ramp: Length | None = 6000,
        noise: Amount = 0.2,
        pseudo_label: Literal["rectified", "threshold"] = "rectified",
        threshold: Share = 0.9,
        detach_weight: bool = False,
        ramp_unit: Length = 1,
        include_background: bool = True,
        **roles: Unpack[TeacherRoles],
    ) -> None:
        super().__init__(
            make_net,
            weight=weight,
            decay=decay,
            ramp=ramp,
            ramp_unit=ramp_unit,
            noise=noise,
            include_background=include_background,
            **roles,
        )
        self.warm_up, self.detach_weight = warm_up, detach_weight
        self.pseudo_label, self.threshold = pseudo_label, threshold
        if pseudo_label == "threshold":
            self.deviates("upc: a fixed threshold is the released script's default, not the published method")

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """The student on all noisy scans, the teacher on all clean ones, one update."""
        (target,) = self.ask([torch.cat([batch.x_l, batch.x_u["weak"]])])
        seen = torch.cat([batch.x_l, batch.x_u[self.student_view]])
        logits = self.net(self.perturb(seen)).logits

        if self.pseudo_label == "rectified":
            consistency = rectified_pseudo_label(logits, target, detach_weight=self.detach_weight)
        else:
            consistency = confident_pseudo_label(logits, target, threshold=self.threshold)
        yield self.total(self.supervised(logits[: len(batch.x_l)], batch.y_l), consistency, t)

    def after_step(self, t: Clock) -> None:
        """The teacher follows the student."""
        decay = warm_decay(t.step, self.decay) if self.warm_up else self.decay
        ema_update(self.teacher, self.net, decay)
