"""DyCON: consistency that counts by how sure both networks are, and patches drawn to their class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Literal, Unpack, cast

import torch
from torch import Tensor, nn

from semiseg.core import Batch, Clock, NetFactory, SegOutput, Update
from semiseg.losses import entropy_map, softmax_mse
from semiseg.methods._bases import Teacher, TeacherRoles
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.dycon.contrast import fecl, fecl_paper
from semiseg.methods.dycon.embedding import EMBEDDINGS, Projected, directions, draw, patch_labels, shares
from semiseg.methods.parts.displacement import pooled
from semiseg.schedules import geometric, sigmoid_rampup
from semiseg.settings.options import Amount, Length, Positive, Share


class DyCON(Teacher):
    """Mean Teacher plus entropy weighting and patch contrast.

    ``L = (CE + Dice)(p(x_l), y_l) + w(k) mean (p - q)^2 + a FeCL(z(x_u), t(x_u)) + b UnCL(p, q)`` with p and
    q the softmax of student and teacher, and z and t their embeddings. w(k) is on unlabeled scans, and UnCL
    on all scans: ``mean [sum (p - q)^2 / (e^(B H_p) + e^(B H_q)) + B (H_p + H_q)]``, H the entropy. B falls
    from ``beta_max`` to ``beta_min``: unsure voxels hardly count at first, and all alike in the end.

    FeCL draws each patch of a scan to the patches of its class and away from all others, most where it fails
    (``focal``). It also draws it away from the teacher's embeddings of other classes. The embedding is a
    projection of the bottleneck, interpolated to twice its edges; the projection is trained, but not
    exported.

    The class of a patch is what matters. The released code reads it from the *true masks of the unlabeled
    scans*. Its published figures are therefore those of a method that sees all labels. Here the teacher says
    it, or FeCL is applied to labeled scans; the released form cannot be had, since a batch holds no labels
    of unlabeled scans. Expect other figures than the published ones.

    UnCL contains the plain entropy of all scans. It is the largest term at the start, at most 2 ``beta_max``
    ln 2 times b for two classes: a small structure may vanish before it is learned.

    Args:
        make_net: returns a fresh network that gives levels.
        weight: w_max, of the plain consistency.
        fecl_weight: a.
        uncl_weight: b.
        beta_max: B at the start.
        beta_min: B at the end; equal to ``beta_max`` it is constant.
        fecl_labels: ``pseudo``: FeCL on unlabeled scans, with the classes that the teacher gives; or
            ``labeled``: on labeled scans, with their labels.
        majority: smallest share of the class in a patch that counts; with 0 every patch does.
        variant: ``released``, where the teacher's close embeddings have a loss of their own; or ``paper``,
            where they are in the denominator, as we read it.
        temperature: of FeCL.
        gamma: of the focal weight; 0 turns it off.
        entropy_weighted: weight each patch with the student's entropy; in the released form this turns the
            focal weight off.
        cross_weight: of the teacher's embeddings in the released form.
        threshold_ramp: share of the run in which the cosine that makes a pair with the teacher count grows
            from 0.3 to 0.5.
        top_k: embeddings of the teacher in the paper's form.
        max_patches: patches per scan in FeCL, drawn at random if there are more; memory and time grow with
            the square.
        column_max: subtract the largest similarity of the column instead of the row's, as released.
        double_softmax: a second softmax on both sides of the plain consistency, as released.
        ramp: as in ``mean_teacher``; the published one does not end within the published run.
        noise: of the teacher's input, all scans, clipped at twice its size.
    """

    facts = Facts(
        title="DyCON",
        family="Mean teachers",
        papers=(Paper("DyCON", "Assefa et al.", "CVPR", 2025, "arXiv:2504.04566"),),
        networks=2,
        trained=1,
        beside="a projection each",
        views_if="strong, if ``student_view`` says so",
        work=1.3,
    )

    def __init__(
        self,
        make_net: NetFactory,
        *,
        fecl_weight: Amount = 0.5,
        uncl_weight: Amount = 0.5,
        beta_max: Positive = 5.0,
        beta_min: Positive = 0.5,
        fecl_labels: Literal["pseudo", "labeled"] = "pseudo",
        majority: Share = 0.0,
        variant: Literal["released", "paper"] = "released",
        temperature: Positive = 0.6,
        gamma: Amount = 2.0,
        entropy_weighted: bool = False,
        cross_weight: Amount = 1.0,
        threshold_ramp: Share = 0.225,
        top_k: Length = 5,
        max_patches: Length = 4096,
        column_max: bool = False,
        double_softmax: bool = False,
        ramp: Length | None = 30000,
        ramp_unit: Length = 150,
        include_background: bool = False,
        weight: Amount = 0.1,
        decay: Share = 0.99,
        noise: Amount = 0.1,
        **roles: Unpack[TeacherRoles],
    ) -> None:
        super().__init__(
            lambda: Projected(make_net(), "dycon"),
            weight=weight,
            decay=decay,
            ramp=ramp,
            ramp_unit=ramp_unit,
            noise=noise,
            include_background=include_background,
            **roles,
        )
        self.predictor = "plain_student" if self.predictor == "net" else "plain_teacher"
        self.fecl_weight, self.uncl_weight = fecl_weight, uncl_weight
        self.beta_max, self.beta_min = beta_max, beta_min
        self.fecl_labels, self.majority, self.max_patches = fecl_labels, majority, max_patches
        self.variant, self.temperature, self.gamma, self.top_k = variant, temperature, gamma, top_k
        self.entropy_weighted, self.cross_weight = entropy_weighted, cross_weight
        self.threshold_ramp, self.column_max, self.double_softmax = threshold_ramp, column_max, double_softmax
        if column_max:
            self.deviates(
                "dycon: similarities are shifted by the maximum of their column, as released",
                as_published=True,
            )
        if double_softmax:
            self.deviates(
                "dycon: the plain consistency compares softmaxes of probabilities, as released",
                as_published=True,
            )

    @property
    def plain_student(self) -> nn.Module:
        """The student without its projection."""
        return cast(nn.Module, self.net.net)

    @property
    def plain_teacher(self) -> nn.Module:
        """The teacher without its projection."""
        return cast(nn.Module, self.teacher.net)

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """The teacher on [x_l, x_u] + noise, the student on [x_l, x_u], one update."""
        n = len(batch.x_l)
        taught = self.answer(self.perturb(torch.cat([batch.x_l, batch.x_u["weak"]])))
        student = self.net(torch.cat([batch.x_l, batch.x_u[self.student_view]]))

        supervised = 2.0 * self.supervised(student.logits[:n], batch.y_l)
        consistency = self.agreement(student.logits[n:], taught.logits[n:])
        uncertain = uncl(student.logits, taught.logits, beta=self.beta(t))
        contrast = self.contrast(student, taught, batch.y_l, t)
        update = self.total(supervised, consistency, t, fecl=contrast, uncl=uncertain)
        yield replace(update, loss=update.loss + self.fecl_weight * contrast + self.uncl_weight * uncertain)

    def beta(self, t: Clock) -> float:
        """B, which falls by equal ratios."""
        return geometric(t.step, t.total, self.beta_max, self.beta_min)

    def threshold(self, t: Clock) -> float:
        """The cosine above which a pair with the teacher counts: from 0.3 to 0.5."""
        return 0.3 + 0.2 * sigmoid_rampup(t.step, self.threshold_ramp * t.total)

    def agreement(self, logits: Tensor, target: Tensor) -> Tensor:
        """The plain consistency."""
        if self.double_softmax:
            logits, target = logits.float().softmax(1), target.float().softmax(1)
        return softmax_mse(logits, target)

    def contrast(self, student: SegOutput, taught: SegOutput, y_l: Tensor, t: Clock) -> Tensor:
        """FeCL on the unlabeled scans, or on the labeled ones."""
        n = len(y_l)
        part = slice(n, None) if self.fecl_labels == "pseudo" else slice(n)
        grid = student.heads[EMBEDDINGS].shape[2:]
        classes = self.patch_classes(taught.logits[part], y_l, grid)
        entropy = entropy_map(student.logits[part].detach().float().softmax(1), normalized=False)
        z, z_t, classes, unsure = draw(
            self.max_patches,
            *(directions(answer.heads[EMBEDDINGS][part]) for answer in (student, taught)),
            classes,
            pooled(entropy, grid).squeeze(1),
        )
        loss = partial(
            fecl_paper if self.variant == "paper" else fecl,
            z,
            classes,
            taught=z_t,
            temperature=self.temperature,
            gamma=self.gamma,
            weights=unsure if self.entropy_weighted else None,
        )
        if self.variant == "paper":
            return loss(top_k=self.top_k)
        return loss(threshold=self.threshold(t), cross_weight=self.cross_weight, column_max=self.column_max)

    def patch_classes(self, taught: Tensor, y_l: Tensor, grid: torch.Size) -> Tensor:
        """The class of each patch (b, N) of the scans that FeCL is applied to."""
        if self.fecl_labels == "labeled":
            return patch_labels(shares(y_l, taught.shape[1]), grid, majority=self.majority)
        return patch_labels(taught.float().softmax(1), grid, majority=self.majority)


def uncl(logits: Tensor, target_logits: Tensor, *, beta: float) -> Tensor:
    """Mean over scans and voxels of ``sum_k (p - q)^2 / (e^(b H_p) + e^(b H_q)) + b (H_p + H_q)``.

    The uncertainty-aware consistency loss of DyCON (Assefa et al. 2025, arXiv:2504.04566), in float32. H is
    the entropy in nats, ``-sum_k p_k ln(p_k + 1e-6)``. A large b silences unsure voxels and asks for a low
    entropy; with b = 0 it is half the squared difference. Nothing of the prediction is held constant, so it
    may also learn by changing its entropy.

    Args:
        logits: (B, K, *S), of p.
        target_logits: (B, K, *S), of q; get no gradient.
        beta: b.

    Returns:
        A scalar, not negative but for ``2e-6 b`` where both are quite sure.
    """
    p, q = logits.float().softmax(1), target_logits.detach().float().softmax(1)
    h_p, h_q = (entropy_map(x, normalized=False).squeeze(1) for x in (p, q))
    distance = (p - q).square().sum(1)
    return (distance / ((beta * h_p).exp() + (beta * h_q).exp()) + beta * (h_p + h_q)).mean()
