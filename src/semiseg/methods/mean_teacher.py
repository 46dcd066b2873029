"""Mean Teacher: the student must agree with the average of its own past."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Unpack

import torch

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import softmax_kl, softmax_mse
from semiseg.methods._bases import Teacher, TeacherOptions
from semiseg.methods._facts import Facts, Paper
from semiseg.settings.options import Count


class MeanTeacherOptions(TeacherOptions, total=False):
    """Options of :class:`MeanTeacher`, in the signatures of methods that pass them on."""

    hold_off: Count
    consistency: Literal["mse", "kl"]


class MeanTeacher(Teacher):
    """A moving average of the network teaches it.

    ``L = 0.5 (CE + Dice)(student(x_l), y_l) + w(k) MSE(softmax student(x_u), softmax teacher(x_u + noise))``,
    then ``teacher <- a teacher + (1 - a) student`` with ``a = min(1 - 1/(k+1), decay)``.

    The paper is about classification. This is the segmentation form of UA-MT and SSL4MIS: consistency on
    unlabeled scans only, EMA counter before its increment, batch-norm buffers not averaged.

    The teacher starts as a copy of the student (the published codes draw it at random; after the first step
    both are the same). Its forward passes stay in train mode, with dropout and batch statistics, unless
    ``teacher_mode="eval"``.

    Args:
        hold_off: iterations before which the consistency term is 0 (1000 in the 2D code).
        consistency: ``mse`` (published) or ``kl`` (per voxel).
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run, which is what the
            published values (40 or 200 units of 150) amount to.
        teacher_mode: ``train`` (published): dropout and batch statistics in the teacher; or ``eval``.
        predict_with: the exported network. The paper evaluates the teacher, the segmentation codes the
            student.
    """

    facts = Facts(
        title="Mean Teacher",
        family="Mean teachers",
        papers=(Paper("Mean Teacher", "Tarvainen & Valpola", "NIPS", 2017, "arXiv:1703.01780"),),
        networks=2,
        trained=1,
        views_if="strong, if ``student_view`` says so",
        work=1.2,
    )

    regions = True
    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        hold_off: Count = 0,
        consistency: Literal["mse", "kl"] = "mse",
        **teacher: Unpack[TeacherOptions],
    ) -> None:
        super().__init__(make_net, **teacher)
        self.hold_off = hold_off
        self.consistency = softmax_kl if consistency == "kl" else softmax_mse

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One student forward on [x_l, x_u], one teacher forward on x_u, one update."""
        x_u = batch.x_u[self.student_view]
        target = self.teach(batch.x_u["weak"])
        logits = self.net(torch.cat([batch.x_l, x_u])).logits
        z_l, z_u = logits.split([len(batch.x_l), len(x_u)])

        consistency = self.consistency(z_u, target, activation=self.activation)
        yield self.total(self.supervised(z_l, batch.y_l), consistency, t)

    def consistency_weight(self, t: Clock) -> float:
        """``w(k)``: 0 during the hold-off, then ``weight`` times the sigmoid ramp."""
        return super().consistency_weight(t) if t.step >= self.hold_off else 0.0
