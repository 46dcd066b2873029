"""What the methods with a teacher have in common that is the moving average of its student."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from semiseg.core import Clock, Method, NetFactory, Update
from semiseg.ema import ema_update, warm_decay
from semiseg.option_values import Amount, Length, Share
from semiseg.schedules import consistency_ramp

TOGETHER = 4
"""Inputs that share a pass at most. Without a gradient a pass keeps two or three maps where the student keeps
all of its layers, so that four times the samples take about what the student does."""


class Teacher(Method):
    """A student trained by gradient, its moving average, and the weight of what one learns from the other.

    A method of this kind passes the options that it leaves as they are on to here, as ``**teacher``. They are
    described here, unless it has to say more about one.

    Args:
        make_net: returns a fresh network.
        weight: w_max, the consistency weight at the end of the ramp.
        decay: EMA decay.
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run.
        ramp_unit: the ramp moves in stairs of this many iterations.
        noise: of the teacher's input, ``clip(noise * N(0, 1), -2 noise, 2 noise)``.
        student_view: view of the unlabeled scans that the student sees; ``strong`` changes intensities more.
            The teacher sees ``weak``.
        teacher_mode: ``train``: dropout and batch statistics in the teacher; or ``eval``.
        predict_with: the exported network (published: the student).
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
        noise: Amount = 0.1,
        student_view: Literal["weak", "strong"] = "weak",
        teacher_mode: Literal["train", "eval"] = "train",
        predict_with: Literal["student", "teacher"] = "student",
        include_background: bool = True,
    ) -> None:
        super().__init__()
        self.net = make_net()
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)
        self.weight, self.decay, self.noise = weight, decay, noise
        self.ramp, self.ramp_unit = ramp, ramp_unit
        self.student_view, self.teacher_mode = student_view, teacher_mode
        self.include_background = include_background
        self.views = ("weak",) if student_view == "weak" else ("weak", student_view)
        self.predictor = "net" if predict_with == "student" else "teacher"

    def after_step(self, t: Clock) -> None:
        """The teacher follows the student."""
        ema_update(self.teacher, self.net, warm_decay(t.step, self.decay))

    def consistency_weight(self, t: Clock) -> float:
        """``w(k)``: ``weight`` times the sigmoid ramp."""
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
