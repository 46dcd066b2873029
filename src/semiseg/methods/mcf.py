"""MCF: two different networks, corrected where they disagree, of which the better one teaches the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.core import IGNORE, Batch, Clock, NetFactory, Update
from semiseg.losses import cross_entropy, dice_loss, dice_loss_per_class, sharpen
from semiseg.methods._bases import TwoNetworks
from semiseg.methods._facts import Facts, Paper
from semiseg.settings.options import Amount, Length, Positive


class MCF(TwoNetworks):
    """Two different networks correct each other's errors.

    ``L_i = (CE + Dice)(p_i(x_l), y_l) + b R_i + w(k) [i loses] mean((p_i - q)^2)(x_u)`` with i = 1, 2 and
    ``R_i = sum(m |p_i - y_l|^2) / (2 sum(m))``. m are the labeled voxels where the two predict different
    classes. ``q_c = p_c^(1/T) / sum_j p_j^(1/T)`` is of the winner, whose Dice loss on the labeled scans is
    lower.

    The first network is the run's, the second the ``partner``. The published pair is a V-Net and ``resvnet``,
    whose step costs 1.8 times that of the V-Net. Nothing else but dropout makes the two differ: both see the
    same images. Every side of the patch must fit both.

    Dice is that of the foreground classes and not halved, each with one ratio over the labeled scans. The
    original has two classes; with more, Dice is their mean, and R_i counts all classes by half, which is the
    same for two. A class that is not in the labeled crops has no say in the competition, unless there is no
    other. In the paper, and with ``competition="image"``, the Dice losses of single scans are compared; the
    code has one for all, which is the default here. A tie goes to the second network.

    Few labeled scans make the winner change from step to step; ``won`` and ``won2`` in the log are the shares
    of the two. A network that never wins teaches nothing.

    Args:
        partner: the second network, by name.
        partner_options: options of the partner.
        weight: w_max, the weight of the unlabeled term at the end of the ramp.
        beta: b; published results are alike from 0.3 to 0.7.
        temperature: T of the winner's probabilities; 1 leaves them as they are.
        competition: by the Dice of the ``batch`` (released) or of each ``image`` (paper).
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run, as published (40
            units of 150).
        ramp_unit: the ramp moves in stairs of this many iterations (150 in the code, 1 in the paper).
        predict_with: the exported network: the ``first``, the ``second``, or the ``average`` of their
            probabilities (published), which takes as long as both.
    """

    facts = Facts(
        title="MCF",
        family="Several networks",
        papers=(Paper("MCF", "Wang, Xiao, Bi, Li & Gao", "CVPR", 2023, "https://github.com/WYC-321/MCF"),),
        networks=2,
        trained=2,
        work=2.0,
    )

    def __init__(
        self,
        make_net: NetFactory,
        *,
        partner: str = "resvnet",
        partner_options: Mapping[str, Any] | None = None,
        weight: Amount = 0.1,
        beta: Amount = 0.5,
        temperature: Positive = 0.1,
        competition: Literal["batch", "image"] = "batch",
        ramp: Length | None = None,
        ramp_unit: Length = 1,
        predict_with: Literal["first", "second", "average"] = "average",
    ) -> None:
        make_partner = partial(make_net, network=partner, **(partner_options or {}))
        super().__init__(
            make_net, make_partner, predict_with=predict_with, weight=weight, ramp=ramp, ramp_unit=ramp_unit
        )
        self.beta, self.temperature, self.competition = beta, temperature, competition

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """Both networks on [x_l, x_u], a competition, then an update of each."""
        x, n = torch.cat([batch.x_l, batch.x_u["weak"]]), len(batch.x_l)
        answers = [self.net(x).logits.float(), self.net2(x).logits.float()]
        differ = self.differ(answers[0][:n], answers[1][:n], batch.y_l)
        first_wins = self.first_wins(answers[0][:n], answers[1][:n], batch.y_l)
        wins, updates = (first_wins, ~first_wins), []
        for z, other, won, on in zip(answers, reversed(answers), wins, self.trainable, strict=True):
            rectification = rectify(z[:n], batch.y_l, differ)
            supervised = self.supervised(z[:n], batch.y_l) + self.beta * rectification
            lesson = ~won * self.lesson(z[n:], self.sharpened(other[n:]))  # nothing comes back from the 0
            parts = {"rectification": rectification, "won": won.float()}
            updates.append(self.total(supervised, lesson, t, on=on, **parts))
        yield from updates

    def supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        """``CE + Dice`` of logits (B, K, *S) and classes (B, *S); Dice of the foreground."""
        dice = dice_loss(logits.softmax(1), target, include_background=False)
        return cross_entropy(logits, target) + dice

    def lesson(self, logits: Tensor, other: Tensor) -> Tensor:
        """Squared distance of the probabilities to those that are taught, averaged over all elements."""
        return (logits.softmax(1) - other).square().mean()

    @torch.no_grad()
    def differ(self, first: Tensor, second: Tensor, target: Tensor) -> Tensor:
        """(B, *S) bool, the known voxels where logits (B, K, *S) of both networks mean different classes."""
        return (first.argmax(1) != second.argmax(1)) & (target != IGNORE)

    @torch.no_grad()
    def first_wins(self, first: Tensor, second: Tensor, target: Tensor) -> Tensor:
        """A bool scalar: logits (B, K, *S) of the first network have the lower Dice loss."""
        size = len(target) if self.competition == "batch" else 1
        labels = torch.split(target, size)

        def loss(logits: Tensor) -> Tensor:
            parts = zip(torch.split(logits.softmax(1), size), labels, strict=True)
            return torch.stack([dice_of_present(p, y) for p, y in parts]).sum()

        return loss(first) < loss(second)

    @torch.no_grad()
    def sharpened(self, logits: Tensor) -> Tensor:
        """What the winner teaches: probabilities (B, K, *S)."""
        return sharpen(logits, temperature=self.temperature)


def rectify(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Half the squared distance of the probabilities to the labels, averaged over a mask; else 0."""
    p = logits.float().softmax(1)
    y = F.one_hot(target.where(mask, 0), p.shape[1]).movedim(-1, 1)
    distance = 0.5 * (p - y).square().sum(1)
    return (distance * mask).sum() / mask.sum().clamp_min(1)


def dice_of_present(probabilities: Tensor, target: Tensor) -> Tensor:
    """The Dice loss averaged over the foreground classes in the labels, or over all if there are none."""
    losses = dice_loss_per_class(probabilities, target)[1:]
    present = torch.stack([(target == k).any() for k in range(1, probabilities.shape[1])])
    counted = present | ~present.any()
    mean: Tensor = (losses * counted).sum() / counted.sum()
    return mean
