"""Uncertainty-aware Mean Teacher: only the voxels of which the teacher is certain teach the student."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, Unpack

import torch
from torch import Tensor

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import masked_mean
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.mean_teacher import MeanTeacher, MeanTeacherOptions
from semiseg.schedules import sigmoid_rampup
from semiseg.settings.options import Length


class UAMT(MeanTeacher):
    """Mean Teacher with consistency where the teacher is sure.

    ``L = 0.5 (CE + Dice)(student(x_l), y_l) + w(k) sum(m D) / (K sum(m))`` with D the squared difference of
    the two softmax maps and ``m = [U < H(k)]``. U is the entropy of the mean of T passes of the teacher, and
    ``H(k) = (0.75 + 0.25 ramp(k)) ln K``: in the end every voxel counts.

    The target is one further noisy pass, not the mean of the T. These run two at a time, as published, since
    batch norm sees who shares a pass. The network needs dropout for the passes to differ by more than noise;
    the recipe ``la`` has it.

    The paper has two classes. The released many-class port keeps the ln 2 of the threshold, so that its mask
    never opens fully. It also keeps the 2 of the divisor, so that its loss is K / 2 times too large;
    ``multiclass="released"`` is that form, and what the recipe ``acdc`` follows.

    Args:
        ramp: as in ``mean_teacher``; H(k) always follows the whole run.
        passes: T, for the uncertainty.
        consistency_on: ``unlabeled``, which the authors recommend, or ``all`` scans, the paper's headline.
        multiclass: ``corrected`` or ``released``, see above; the same for two classes.
    """

    facts = Facts(
        title="UA-MT",
        family="Mean teachers",
        papers=(Paper("UA-MT", "Yu et al.", "MICCAI", 2019, "arXiv:1907.07034"),),
        networks=2,
        trained=1,
        views_if="strong, if ``student_view`` says so",
        work=2.5,
    )

    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        passes: Length = 8,
        consistency_on: Literal["unlabeled", "all"] = "unlabeled",
        multiclass: Literal["corrected", "released"] = "corrected",
        **teacher: Unpack[MeanTeacherOptions],
    ) -> None:
        super().__init__(make_net, **teacher)
        self.passes, self.consistency_on, self.multiclass = passes, consistency_on, multiclass
        if multiclass == "released":
            self.deviates(
                "ua_mt: the released threshold and divisor are wrong for more than two classes",
                as_published=True,
            )

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One student forward on [x_l, x_u], 1 + T passes of the teacher, one update."""
        taught = batch.x_u["weak"]
        if self.consistency_on == "all":
            taught = torch.cat([batch.x_l, taught])
        target = self.teach(taught)
        uncertainty = self.uncertainty(taught)
        logits = self.net(torch.cat([batch.x_l, batch.x_u[self.student_view]])).logits

        classes = logits.shape[1] if self.multiclass == "corrected" else 2
        certain = uncertainty < self.threshold(t, classes)
        difference = self.consistency(logits[-len(taught) :], target, reduction="none")
        consistency = masked_mean(difference, certain, per_voxel=classes)
        supervised = self.supervised(logits[: len(batch.x_l)], batch.y_l)
        yield self.total(supervised, consistency, t, certain=certain.float().mean())

    def threshold(self, t: Clock, classes: int) -> float:
        """``H(k)``: from three quarters of the largest entropy to all of it."""
        return (0.75 + 0.25 * sigmoid_rampup(t.step, t.total)) * math.log(classes)

    def uncertainty(self, x: Tensor) -> Tensor:
        """Entropy (B, 1, *S) of the teacher's mean prediction over T noisy passes, in [0, ln K]."""
        return self.doubt(self.ready(), x, self.passes)
