"""Ambiguity-consensus mean teacher: consistency where the student is in doubt, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Literal, Unpack

import torch
from torch import Tensor

from semiseg.core import IGNORE, Batch, Clock, NetFactory, SegOutput, Update
from semiseg.errors import UsageError
from semiseg.losses import entropy_map, masked_mean, softmax_mse
from semiseg.methods._bases import Teacher, TeacherOptions, passes_of
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.ac_mt.confident_learning import label_issues
from semiseg.methods.parts.prototypes import Spread, frozen_running_statistics, nearest_class, upsampled
from semiseg.schedules import sigmoid_rampup
from semiseg.settings.options import Amount, Length, Positive, Share


class ACMT(Teacher):
    """Mean Teacher with consistency on ambiguous voxels only.

    ``L = 0.5 (CE + Dice)(student(x_l), y_l) + w(k) sum(A D) / (K sum(A))`` with D the squared difference of
    the softmax maps p of the student and q of the teacher, and A where

    ``entropy``: p has an entropy of at least theta(k) ln K (the paper's Ent);
    ``uncertainty``: so has the mean of T noisy passes of the student (MU);
    ``prototype``: the nearest class prototype of the teacher's features is not the student's class (P-Err);
    ``confident_learning``: the student's class is a label issue to the teacher's probabilities (S-Err).

    ``theta(k)`` goes from ``threshold_start`` to ``threshold_end`` along the ramp.

    The opposite choice of UA-MT, which learns where the teacher is sure. A step costs 1.2 supervised ones by
    entropy, and 1.3 by confident learning. By uncertainty it costs 2.5 (16 more images through the student),
    by prototypes 3.0 (22 more through the teacher).

    The released uncertainty passes leave their mark on the batch norm that will predict, and the loss there
    is K times that of the others; here they do not, and it is not. The released entropy term of the
    prototypes, ``mean((1 - A) H(p))``, multiplies the mask of one scan by the entropy of another. A class
    without voxels has its prototype at 0 there; here it has none. Confident learning on a student that sees
    a single class has nothing to compare: then every voxel counts. The released code does so on any error.

    Args:
        make_net: returns a fresh network; ``prototype`` needs the levels of its decoder.
        selection: of the ambiguous voxels, see above. The paper has all four.
        threshold_start: theta at the start, as a share of the largest entropy.
        threshold_end: theta at the end; None is the published 0.95 for ``entropy``, 0.9 for ``uncertainty``.
            Below the start it grows milder, as a comment in the released code has it (0.6).
        passes: of ``uncertainty`` (None: 8) or ``prototype`` (None: 10).
        certain_below: spread of the teacher's sigmoid scores over the passes above which a class is no
            candidate for a voxel (``prototype``).
        temperature: of these scores.
        drop_uncertain: a voxel without a candidate joins no prototype; published: that of the background.
        absent_class: ``excluded`` from the nearest prototypes, or at ``zero``, as released.
        entropy_term: of ``prototype``: ``aligned``, ``released`` (see above) or ``none``.
        filter_by: of ``confident_learning``, the names of cleanlab; ``both`` is published.
        sum_over_classes: no K in the divisor, as released for ``uncertainty``.
        update_bn: let the passes of ``uncertainty`` move running statistics, as released.
        ramp: as in ``mean_teacher``; theta(k) always follows the whole run.
        noise: of the teacher's input, and of the uncertainty's, clipped at twice its size.

    Raises:
        UsageError: fewer than two passes of ``prototype``.
    """

    facts = Facts(
        title="AC-MT",
        family="Mean teachers",
        papers=(
            Paper("AC-MT", "Xu et al.", "Medical Image Analysis", 2023, "doi:10.1016/j.media.2023.102880"),
        ),
        networks=2,
        trained=1,
        views_if="strong, if ``student_view`` says so",
        work=1.2,
    )

    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        selection: Literal["entropy", "uncertainty", "prototype", "confident_learning"] = "entropy",
        threshold_start: Share = 0.75,
        threshold_end: Share | None = None,
        passes: Length | None = None,
        certain_below: Amount = 0.1,
        temperature: Positive = 2.0,
        drop_uncertain: bool = False,
        absent_class: Literal["excluded", "zero"] = "excluded",
        entropy_term: Literal["aligned", "released", "none"] = "aligned",
        filter_by: Literal["both", "prune_by_class", "prune_by_noise_rate"] = "both",
        sum_over_classes: bool = False,
        update_bn: bool = False,
        **teacher: Unpack[TeacherOptions],
    ) -> None:
        super().__init__(make_net, **teacher)
        by_uncertainty, by_prototype = selection == "uncertainty", selection == "prototype"
        self.selection, self.threshold_start = selection, threshold_start
        self.threshold_end = (0.9 if by_uncertainty else 0.95) if threshold_end is None else threshold_end
        self.passes = (8 if by_uncertainty else 10) if passes is None else passes
        self.certain_below, self.temperature, self.drop_uncertain = certain_below, temperature, drop_uncertain
        self.absent_class, self.entropy_term, self.filter_by = absent_class, entropy_term, filter_by
        self.sum_over_classes, self.update_bn = sum_over_classes, update_bn
        if by_prototype and self.passes < 2:
            raise UsageError("ac_mt: one pass has no spread", hint="take at least 2 passes")
        if sum_over_classes:
            self.deviates(
                "ac_mt: the loss is summed over classes, K times that of the other selections",
                as_published=True,
            )
        if by_uncertainty and update_bn:
            self.deviates(
                "ac_mt: noisy passes move the running statistics used for prediction", as_published=True
            )
        if by_prototype and absent_class == "zero":
            self.deviates(
                "ac_mt: a class without voxels has a prototype at 0, which may be the nearest",
                as_published=True,
            )
        if by_prototype and entropy_term == "released":
            self.deviates(
                "ac_mt: the entropy term multiplies the mask of a scan by the entropy of another",
                as_published=True,
            )

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """The teacher on x_u + noise, the student on [x_l, x_u], the selection's own passes, one update."""
        x_u = batch.x_u[self.student_view]
        target = self.teach(batch.x_u["weak"])
        logits = self.net(torch.cat([batch.x_l, x_u])).logits
        z_l, z_u = logits.split([len(batch.x_l), len(x_u)])

        p = z_u.float().softmax(1)
        ambiguous = self.select(p.detach(), batch, t)
        difference = softmax_mse(z_u, target, reduction="none")
        consistency = masked_mean(difference, ambiguous, per_voxel=1 if self.sum_over_classes else None)
        if self.selection == "prototype" and self.entropy_term != "none":
            consistency = consistency + self.sharpen(p, ~ambiguous)
        supervised = self.supervised(z_l, batch.y_l)
        yield self.total(supervised, consistency, t, ambiguous=ambiguous.float().mean())

    @torch.no_grad()
    def select(self, p: Tensor, batch: Batch, t: Clock) -> Tensor:
        """A, (Bu, 1, *S) bool, from the student's probabilities p (Bu, K, *S)."""
        x = batch.x_u["weak"]
        if self.selection == "entropy":
            return entropy_map(p) >= self.threshold(t)
        if self.selection == "uncertainty":
            uncertainty = self.uncertainty(batch.x_u[self.student_view])
            return uncertainty >= self.threshold(t) * math.log(p.shape[1])
        guess, q = p.argmax(1), self.clean_probabilities(x)
        if self.selection == "prototype":
            return (guess != self.nearest(x, q))[:, None]
        single = guess.amin() == guess.amax()
        return (label_issues(guess, q, self.filter_by) | single)[:, None]

    def threshold(self, t: Clock) -> float:
        """``theta(k)``, a share of the largest entropy."""
        ramp = sigmoid_rampup(t.step, t.total)
        return self.threshold_start + (self.threshold_end - self.threshold_start) * ramp

    def uncertainty(self, x: Tensor) -> Tensor:
        """Entropy (B, 1, *S) of the student's mean prediction over T noisy passes, in [0, ln K]."""
        with nullcontext() if self.update_bn else frozen_running_statistics(self.net):
            return self.doubt(self.net, x, self.passes)

    def clean_probabilities(self, x: Tensor) -> Tensor:
        """Of the teacher without noise, (B, K, *S)."""
        (logits,) = self.ask([x])
        return logits.float().softmax(1)

    @torch.no_grad()
    def nearest(self, x: Tensor, q: Tensor) -> Tensor:
        """The class (B, *S) with the nearest prototype in the teacher's mean features over the passes.

        A voxel joins the prototype of its likeliest class of which the passes agree; background if none.
        """
        scores, features = Spread(), torch.zeros((), device=x.device)
        for out in passes_of(self.teacher, [x] * self.passes):
            scores.add((out.logits.float() / self.temperature).sigmoid())
            features = features + feature_map(out).float() / self.passes
        candidate = scores.std() < self.certain_below
        classes = (candidate * q).argmax(1)
        if self.drop_uncertain:
            classes = classes.where(candidate.any(1), IGNORE)
        zero = self.absent_class == "zero"
        return nearest_class(upsampled(features, q), classes, q, absent_at_zero=zero)

    def sharpen(self, p: Tensor, clear: Tensor) -> Tensor:
        """``mean(clear H)`` over all voxels, H the normalized entropy of p (B, K, *S), clear (B, 1, *S)."""
        entropy = entropy_map(p)
        return (clear * (entropy if self.entropy_term == "aligned" else entropy.transpose(0, 1))).mean()


def feature_map(out: SegOutput) -> Tensor:
    """The decoder's last level but one (or its only one).

    Raises:
        UsageError: the network gives none.
    """
    if not out.levels:
        raise UsageError(
            "ac_mt by prototypes needs the levels of the network's decoder, and this one gives none",
            hint="choose another network (`semiseg networks`), or another selection",
        )
    return out.levels[-2] if len(out.levels) > 1 else out.levels[0]
