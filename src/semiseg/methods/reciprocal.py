"""Reciprocal learning: the teacher hears how much its pseudo-labels have helped the student."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Literal

import torch
from torch import Tensor

from semiseg.core import Batch, Clock, Gradient, Method, NetFactory, Stage, Update
from semiseg.errors import UsageError
from semiseg.losses import cross_entropy, dice_ce
from semiseg.methods._bases import mean_over_ranks
from semiseg.methods._facts import Facts, Paper
from semiseg.settings.options import Share

Study = Generator[Update, None, Tensor]
"""The student's updates, and in the end the feedback."""


class Reciprocal(Method):
    """The teacher learns from how well its pseudo-labels teach.

    ``L_S = CE(S(x_u), y')`` with ``y' = argmax T(x_u)``, then ``L_T = h CE(T(x_u), y') + CE(T(x_l), y_l)``.
    The feedback ``h = lr <grad L_S, grad CE(S'(x_l), y_l)>``, S' the student after its step, is how much that
    step has lowered the student's loss on labels: h > 0 makes the teacher surer of y', h < 0 less sure.

    The first-order form of Meta Pseudo Labels (arXiv:2003.10580), with hard pseudo-labels on every voxel. The
    teacher makes them from the first step and so must be trained before: the stage ``pretrain`` is that, on
    labels alone with ``0.5 (CE + Dice)``, the whole batch labeled. The student never sees a label, and starts
    at random after it.

    h is as small as the learning rate, and takes the student's step for plain gradient descent, whatever its
    optimizer. Gradients are the means over ranks, in float32, before clipping. ``feedback="loss_difference"``
    measures the loss before and after with the same dropout; to first order both are the same.

    The published recipe divides the learning rate by 10 every 2500 iterations, also in a run of 20,000. The
    last quarter of that run then trains nothing; use ``schedule.every`` to spread the drops.

    Args:
        pretrain_share: of the run, in which the teacher alone is trained; 0 leaves it as it is drawn
            (published for the left atrium: a finished model of 6000 iterations for a run of 6000, which is
            0.5; for the pancreas: one of 4000 for a run of 20,000).
        feedback: ``gradient_product`` (published), or ``loss_difference``.
        labeled_loss: of the teacher and of the feedback: ``ce`` (published), or ``ce_dice``, their sum.
        predict_with: the exported network (published: the student).
        include_background: count class 0 in the Dice terms.

    Raises:
        UsageError: ``pretrain_share`` of 1, which leaves the student nothing.
    """

    facts = Facts(
        title="Reciprocal Learning",
        family="Several networks",
        papers=(
            Paper("Reciprocal Learning", "Zeng et al.", "MICCAI", 2021, ""),
            Paper("", "", "Medical Physics", 2023, "doi:10.1002/mp.15923", role="for the journal"),
        ),
        networks=2,
        trained=2,
        work=2.0,
    )

    partial = True
    trainable = ("student", "teacher")

    def __init__(
        self,
        make_net: NetFactory,
        *,
        pretrain_share: Share = 0.3,
        feedback: Literal["gradient_product", "loss_difference"] = "gradient_product",
        labeled_loss: Literal["ce", "ce_dice"] = "ce",
        predict_with: Literal["student", "teacher"] = "student",
        include_background: bool = True,
    ) -> None:
        super().__init__()
        if pretrain_share == 1:
            raise UsageError(
                "pretrain_share=1 leaves the student no iteration",
                hint="0.3 is the default; the method supervised trains one network on labels alone",
            )
        self.student, self.teacher = make_net(), make_net()
        self.predictor = predict_with
        self.feedback, self.labeled_loss = feedback, labeled_loss
        self.include_background = include_background
        if pretrain_share:
            first = Stage("pretrain", pretrain_share, unlabeled=False)
            self.stages = (first, Stage("train", 1.0 - pretrain_share))

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """The student's update, the feedback, the teacher's update."""
        if t.stage == "pretrain":
            logits = self.teacher(batch.x_l).logits
            loss = dice_ce(logits, batch.y_l, include_background=self.include_background)
            yield Update(loss, on="teacher", logs={"supervised": loss})
            return
        x_u = batch.x_u["weak"]
        answer, taught = self.student(x_u).logits, self.teacher(x_u).logits
        pseudo = taught.argmax(1)
        study = self.gradient_product if self.feedback == "gradient_product" else self.loss_difference
        h = yield from study(cross_entropy(answer, pseudo), batch)

        certainty = cross_entropy(taught, pseudo)
        supervised = self.labeled(self.teacher, batch)
        logs = {"feedback": h, "certainty": certainty, "supervised": supervised}
        yield Update(h.detach() * certainty + supervised, on="teacher", logs=logs)

    def gradient_product(self, loss: Tensor, batch: Batch) -> Study:
        """``lr <g_u, g_l>``, the second gradient of the weights after the student's step."""
        before, after = Gradient(), Gradient()
        yield Update(loss, on="student", logs={"student": loss}, gradient=before)
        labeled = self.labeled(self.student, batch)
        yield Update(labeled, on="student", counts=False, gradient=after, step=False)
        return before.lr * torch.dot(before.vector, after.vector)

    def loss_difference(self, loss: Tensor, batch: Batch) -> Study:
        """The student's loss on labels before its step less that after it, both with the same dropout."""
        seed = int(torch.randint(2**31, ()))
        before = self.measured(batch, seed)
        yield Update(loss, on="student", logs={"student": loss})
        return mean_over_ranks(before - self.measured(batch, seed))

    @torch.no_grad()
    def measured(self, batch: Batch, seed: int) -> Tensor:
        """The student's loss on labels with the random draws of this seed; the generator stays as it was."""
        devices = [batch.x_l.device] if batch.x_l.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            return self.labeled(self.student, batch)

    def labeled(self, network: torch.nn.Module, batch: Batch) -> Tensor:
        """The loss on labels of either network."""
        logits = network(batch.x_l).logits
        if self.labeled_loss == "ce":
            return cross_entropy(logits, batch.y_l)
        return 2.0 * dice_ce(logits, batch.y_l, include_background=self.include_background)
