"""TCSM: the segmentation of a turned and scaled scan, turned back, is the segmentation of the scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal, Unpack

import torch
from torch import Tensor

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.errors import UsageError
from semiseg.losses import cross_entropy
from semiseg.methods._bases import TeacherRoles
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.methods.parts.transforms import Chain, Transform, draw_symmetries, draw_zoom
from semiseg.settings.options import Amount, Count, Length, Share

ROLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "teacher_transformed": (("plain",), ("moved",)),
    "student_transformed": (("moved",), ("plain",)),
    "pi_model": (("plain", "moved"), ()),
    "three_way": (("plain", "moved"), ("moved",)),
}
"""What the student is asked in the consistency term, and what the teacher."""


class TCSM(MeanTeacher):
    """Mean Teacher that agrees under rotation, flip and scale.

    ``L = CE(student(x_l), y_l) + w(k) mean(v (softmax student(x) - softmax T^-1(teacher(T(x + noise))))^2)``
    on labeled and unlabeled x, with T drawn for each sample: one of the grid's symmetries, then a scaling by
    [0.9, 1.1] about the center; v is 0 where T moved the border out of sight.

    This is the paper's method. The released trainer computes both outputs of the consistency term without a
    gradient, so that its student learns from labels alone: ``weight=0`` is the same and says so. It also
    scales twice and undoes one, and unmasks the whole batch as soon as one sample is shrunk. Its switch for
    pseudo-labels compares probabilities cut to whole numbers. None of these is an option.

    Quarter turns are drawn in planes whose two sides have equal length, half turns and flips in all. Scaling
    is bicubic in 2D and trilinear in 3D.

    Args:
        supervised: ``ce`` (published), or ``dice_ce`` to compare with the other methods.
        class_weights: of the cross-entropy, background first (skin lesions: 1.93 and 8.06).
        consistency_on: ``all`` scans, the paper's form, or ``unlabeled``, that of the launch script.
        branches: who answers for what. ``teacher_transformed``: the student for the scan, the teacher for
            the transformed one. ``student_transformed``: the other way round. ``pi_model``: the student for
            both, with no teacher (the conference paper). ``three_way``: all three, compared in pairs.
        scale: T scales by 1 - scale to 1 + scale; 0 leaves only turns and flips.
        border: voxels out of sight count as agreement (``counted``, published) or are ``excluded`` from
            the mean.
        forwards: one student pass for all scans (``joint``), or as published one for the consistency and
            then one for the labels (``separate``); they differ in batch statistics.
        ramp: as in ``mean_teacher``; published 600 units of 10.
        noise: of the input that is transformed, clipped at twice its size (published: negligible).
        predict_with: the exported network (published: the better one on the test images).
        include_background: count class 0 in the Dice term of ``dice_ce``.
    """

    facts = Facts(
        title="TCSM",
        family="Mean teachers",
        papers=(Paper("TCSM", "Li et al.", "IEEE TNNLS", 2021, "arXiv:1903.00348"),),
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
        supervised: Literal["ce", "dice_ce"] = "ce",
        class_weights: tuple[Amount, ...] | None = None,
        consistency_on: Literal["all", "unlabeled"] = "all",
        branches: Literal[
            "teacher_transformed", "student_transformed", "pi_model", "three_way"
        ] = "teacher_transformed",
        scale: Share = 0.1,
        border: Literal["counted", "excluded"] = "counted",
        forwards: Literal["joint", "separate"] = "joint",
        decay: Share = 0.999,
        ramp: Length | None = 6000,
        ramp_unit: Length = 10,
        hold_off: Count = 0,
        consistency: Literal["mse", "kl"] = "mse",
        noise: Amount = 0.1,
        include_background: bool = True,
        **roles: Unpack[TeacherRoles],
    ) -> None:
        super().__init__(
            make_net,
            hold_off=hold_off,
            consistency=consistency,
            weight=weight,
            decay=decay,
            ramp=ramp,
            ramp_unit=ramp_unit,
            noise=noise,
            include_background=include_background,
            **roles,
        )
        if class_weights is not None and supervised != "ce":
            raise UsageError(
                "class_weights are those of the cross-entropy alone, and supervised is dice_ce",
                hint="leave class_weights out, or set supervised to ce",
            )
        self.label_loss, self.class_weights = supervised, class_weights
        self.consistency_on, self.branches, self.forwards = consistency_on, branches, forwards
        self.scale, self.border = scale, border

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """A drawn transform, the teacher, the student, all answers in the frame of the scans, one update."""
        seen, weak = self.scans(batch, self.student_view), self.scans(batch, "weak")
        transform = self.draw(weak)
        of_student, of_teacher = ROLES[self.branches]
        z_l, learned = self.learn(batch.x_l, [self.look(seen, role, transform) for role in of_student])
        taught = self.ask([self.look(weak, role, transform) for role in of_teacher])

        pairs = zip([*of_student, *of_teacher], [*learned, *taught], strict=True)
        answers = [transform.invert(z) if role == "moved" else z for role, z in pairs]
        valid = transform.valid(weak)
        consistency = self.agreement(answers, valid)
        yield self.total(self.supervised(z_l, batch.y_l), consistency, t, valid=valid.float().mean())

    def scans(self, batch: Batch, view: str) -> Tensor:
        """The consistency set: x_u in that view, behind x_l if all scans count."""
        x_u = batch.x_u[view]
        return torch.cat([batch.x_l, x_u]) if self.consistency_on == "all" else x_u

    def draw(self, images: Tensor) -> Transform:
        """T for images (B, C, *S)."""
        symmetries = draw_symmetries(images)
        return Chain(symmetries, draw_zoom(images, self.scale)) if self.scale else symmetries

    def look(self, x: Tensor, role: str, transform: Transform) -> Tensor:
        """What a network is shown of the consistency set."""
        return transform.apply(self.perturb(x)) if role == "moved" else x

    def learn(self, x_l: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """Student logits of the labeled scans, and of each input of the consistency term."""
        if self.forwards == "separate":
            learned = [self.net(x).logits for x in inputs]
            return self.net(x_l).logits, learned
        # The plain scans may begin with the labeled ones, which one pass need not see twice.
        shared = self.consistency_on == "all" and self.branches != "student_transformed"
        first, *others = inputs
        parts = [x_l, first[len(x_l) :] if shared else first, *others]
        z_l, z, *rest = torch.split(self.net(torch.cat(parts)).logits, [len(x) for x in parts])
        return z_l, [torch.cat([z_l, z]) if shared else z, *rest]

    def supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of the labeled scans."""
        if self.label_loss == "dice_ce":
            return super().supervised(logits, target)
        return cross_entropy(logits, target, weights=self.class_weights)

    def agreement(self, answers: Sequence[Tensor], valid: Tensor) -> Tensor:
        """The consistency of all pairs of answers (B, K, *S), which are made equal outside of ``valid``."""
        known = [z.float().where(valid, 0.0) for z in answers]
        mean = torch.stack([self.consistency(first, last) for first, last in combinations(known, 2)]).mean()
        return mean * (valid.numel() / valid.sum()) if self.border == "excluded" else mean
