"""Mean Teacher: the student must agree with the average of its own past."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semiseg.core import Batch, Clock, Method, NetFactory, Update
from semiseg.ema import ema_update, warm_decay
from semiseg.losses import dice_ce, softmax_kl, softmax_mse
from semiseg.option_values import Amount, Count, Length, Share
from semiseg.schedules import consistency_ramp

TOGETHER = 4
"""Inputs that share a pass at most. Without a gradient a pass keeps two or three maps where the student keeps
all of its layers, so that four times the samples take about what the student does."""


class MeanTeacher(Method):
    """A student trained by gradient; its moving average, the teacher, supplies targets on unlabeled scans.

    ``L = 0.5 (CE + Dice)(student(x_l), y_l) + w(k) MSE(softmax student(x_u), softmax teacher(x_u + noise))``,
    then ``teacher <- a teacher + (1 - a) student`` with ``a = min(1 - 1/(k+1), decay)``.

    Paper: Mean Teacher, Tarvainen & Valpola, NIPS 2017, arXiv:1703.01780.
    Networks: 2 (1 trained). Views: weak (and strong, if ``student_view`` says so). Work: 1.2.

    The paper is about classification. This is the segmentation form of UA-MT and SSL4MIS: consistency on
    unlabeled scans only, EMA counter before its increment, batch-norm buffers not averaged.

    The teacher starts as a copy of the student (the published codes draw it at random; after the first step
    both are the same). Its forward passes stay in train mode, with dropout and batch statistics, unless
    ``teacher_mode="eval"``.

    Args:
        make_net: returns a fresh network.
        weight: w_max, the consistency weight at the end of the ramp.
        decay: EMA decay.
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run, which is what the
            published values (40 or 200 units of 150) amount to.
        ramp_unit: the ramp moves in stairs of this many iterations (150 in the published codes).
        hold_off: iterations before which the consistency term is 0 (1000 in the 2D code).
        noise: teacher input noise, ``clip(noise * N(0, 1), -2 noise, 2 noise)``.
        consistency: ``mse`` (published) or ``kl`` (per voxel).
        student_view: view of the unlabeled scans that the student sees; ``strong`` changes intensities more.
            The teacher sees ``weak``.
        teacher_mode: ``train`` (published): dropout and batch statistics in the teacher; or ``eval``.
        predict_with: the exported network. The paper evaluates the teacher, the segmentation codes the
            student.
        include_background: count class 0 in the Dice term.
    """

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 0.1,
        decay: Share = 0.99,
        ramp: Length | None = None,
        ramp_unit: Length = 1,
        hold_off: Count = 0,
        noise: Amount = 0.1,
        consistency: Literal["mse", "kl"] = "mse",
        student_view: Literal["weak", "strong"] = "weak",
        teacher_mode: Literal["train", "eval"] = "train",
        predict_with: Literal["student", "teacher"] = "student",
        include_background: bool = True,
    ) -> None:
        super().__init__()
        self.net = make_net()
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)
        self.weight, self.decay, self.noise = weight, decay, noise
        self.ramp, self.ramp_unit, self.hold_off = ramp, ramp_unit, hold_off
        self.consistency = softmax_kl if consistency == "kl" else softmax_mse
        self.student_view, self.teacher_mode = student_view, teacher_mode
        self.include_background = include_background
        self.views = ("weak",) if student_view == "weak" else ("weak", student_view)
        self.predictor = "net" if predict_with == "student" else "teacher"

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One student forward on [x_l, x_u], one teacher forward on x_u, one update."""
        x_u = batch.x_u[self.student_view]
        target = self.teach(batch.x_u["weak"])
        logits = self.net(torch.cat([batch.x_l, x_u])).logits
        z_l, z_u = logits.split([len(batch.x_l), len(x_u)])

        supervised = dice_ce(z_l, batch.y_l, include_background=self.include_background)
        consistency = self.consistency(z_u, target)
        yield self.total(supervised, consistency, t)

    def after_step(self, t: Clock) -> None:
        """The teacher follows the student."""
        ema_update(self.teacher, self.net, warm_decay(t.step, self.decay))

    def consistency_weight(self, t: Clock) -> float:
        """``w(k)``: 0 during the hold-off, then ``weight`` times the sigmoid ramp."""
        if t.step < self.hold_off:
            return 0.0
        length = t.total if self.ramp is None else self.ramp
        return self.weight * consistency_ramp(t.step, length, self.ramp_unit)

    def total(self, supervised: Tensor, consistency: Tensor, t: Clock, **logs: Tensor) -> Update:
        """``supervised + w(k) consistency`` with its parts, and what else the method tells, in the log."""
        w = self.consistency_weight(t)
        parts = {"supervised": supervised, "consistency": consistency, "weight": torch.tensor(w), **logs}
        return Update(
            supervised + w * consistency, logs={name: part.detach() for name, part in parts.items()}
        )

    def teach(self, x: Tensor) -> Tensor:
        """Teacher logits (B, K, *S) of the noisy input; no gradient."""
        (logits,) = self.ask([self.perturb(x)])
        return logits

    def perturb(self, x: Tensor) -> Tensor:
        """``x + clip(noise * N(0, 1), -2 noise, 2 noise)``."""
        limit = 2 * self.noise
        return x + (torch.randn_like(x) * self.noise).clamp(-limit, limit)

    @torch.no_grad()
    def ask(self, inputs: Sequence[Tensor]) -> Iterator[Tensor]:
        """Teacher logits of each input, one pass each; on a GPU several share one where that is the same."""
        self.teacher.train(self.training and self.teacher_mode == "train")
        together = TOGETHER if len(inputs) > 1 and one_pass_pays(self.teacher, inputs[0]) else 1
        for first in range(0, len(inputs), together):
            group = inputs[first : first + together]
            logits = self.teacher(torch.cat(list(group)) if len(group) > 1 else group[0]).logits
            yield from torch.split(logits, [len(x) for x in group])


def one_pass_pays(network: nn.Module, x: Tensor) -> bool:
    """Whether passes may share a batch: not where batch norm would see the others, and only a GPU gains."""
    return x.is_cuda and not any(m.training for m in network.modules() if isinstance(m, _BatchNorm))
