"""DHC: two networks that teach each other, one with weights for rare classes, one for hard ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from semiseg.core import IGNORE, Batch, Clock, NetFactory, Update
from semiseg.losses import cross_entropy, dice_loss
from semiseg.methods._bases import TwoNetworks, fact, mean_over_ranks
from semiseg.methods._facts import Facts, Paper
from semiseg.settings.options import Amount, Length, Positive, Share

Absent = Literal["apart", "released"]
"""What a class that is not in the batch does: as little as possible, or what the released code has it do."""

EPS = 1e-8


def class_counts(labels: Tensor, classes: int) -> Tensor:
    """(K,) float32: voxels of each class in labels of any shape; other values count nowhere."""
    return torch.stack([(labels == k).sum() for k in range(classes)]).float()


def rarity(counts: Tensor, absent: Absent = "apart") -> Tensor:
    """``K ln P_k / max_j ln P_j`` with ``P_k = max n / n_k``: 0 for the most frequent class, K at most.

    Args:
        counts: n, (K,).
        absent: ``apart`` counts a class without a voxel as one voxel; with ``released`` as 1e-8 of one, so
            that the other classes come close to one another.

    Returns:
        (K,); all 1 where the classes are equally frequent.
    """
    n = counts.float().clamp_min(1.0 if absent == "apart" else 0.0)
    log_p = ((n.amax() + EPS) / (n + EPS)).log()
    most = log_p.amax()
    return torch.where(most > 0, len(n) * log_p / most.clamp_min(1e-30), 1.0)


class DistributionWeights(nn.Module):
    """The moving average of the :func:`rarity` of predicted classes; it begins with that of the labels.

    The release counts all labeled scans before the first step. Here the voxels of the labels seen so far are
    counted, and this part of the average follows them; it is ``momentum^t`` of the whole after t steps.

    Args:
        classes: K.
        momentum: share of the old weights in the new ones.
        absent: see :func:`rarity`.
    """

    counts: Tensor
    average: Tensor
    left: Tensor

    def __init__(self, classes: int, momentum: float = 0.99, absent: Absent = "apart") -> None:
        super().__init__()
        self.momentum, self.absent = momentum, absent
        self.register_buffer("counts", torch.zeros(classes))
        self.register_buffer("average", torch.zeros(classes))
        self.register_buffer("left", torch.ones(()))

    @property
    def weights(self) -> Tensor:
        """(K,) in [0, K]."""
        return self.left * rarity(self.counts, self.absent) + self.average

    @torch.no_grad()
    def update(self, labels: Tensor, predicted: Tensor) -> Tensor:
        """Take in labels and the classes predicted of the unlabeled patches, and return the new weights."""
        classes = len(self.counts)
        found = mean_over_ranks(torch.stack([class_counts(x, classes) for x in (labels, predicted)]))
        self.counts += found[0]
        new = rarity(found[1], self.absent)
        self.average.lerp_(new, 1.0 - self.momentum)
        self.left *= self.momentum
        return self.weights


class DifficultyWeights(nn.Module):
    """Classes of low and of falling Dice weigh more; the largest weight is K.

    ``w = (unlearned / learned)^power * hard``, scaled, with moving averages of ``1 - d`` (hard), and of
    ``|change of d| |ln(d / last d)|`` where Dice d of the class has risen (learned) or fallen (unlearned).

    Args:
        classes: K.
        steps: of the moving averages, ``momentum = (steps - 1) / steps``.
        power: of the ratio.
        absent: ``apart`` leaves a class that is not in the labels as it is; ``released`` takes its Dice for
            1/2 if it is not predicted either.
    """

    last: Tensor
    learned: Tensor
    unlearned: Tensor
    hard: Tensor

    def __init__(self, classes: int, steps: int = 50, power: float = 0.2, absent: Absent = "apart") -> None:
        super().__init__()
        self.momentum, self.power, self.absent = (steps - 1) / steps, power, absent
        self.register_buffer("last", torch.full((classes,), EPS))
        self.register_buffer("learned", torch.zeros(classes))
        self.register_buffer("unlearned", torch.zeros(classes))
        self.register_buffer("hard", torch.ones(classes))

    @property
    def weights(self) -> Tensor:
        """(K,) in [0, K]."""
        ratio = (self.unlearned + EPS) / (self.learned + EPS)
        w = ratio**self.power * self.hard
        return len(w) * w / w.amax().clamp_min(1e-30)

    @torch.no_grad()
    def update(self, labels: Tensor, predicted: Tensor) -> Tensor:
        """Take in labels and predicted classes (B, *S) of the labeled patches, and return the new weights."""
        classes = len(self.last)
        known = predicted.where(labels != IGNORE, -1)
        right = labels.where(labels == known, -1)
        counted = torch.stack([class_counts(x, classes) for x in (right, known, labels)])
        both, found, there = mean_over_ranks(counted)
        dice = (2 * both + EPS) / (found + there + 2 * EPS)
        change, ratio = dice - self.last, (dice / self.last).log()
        here = there > 0 if self.absent == "apart" else torch.ones_like(there, dtype=torch.bool)
        for average, new in (
            (self.learned, change.clamp_min(0) * ratio),
            (self.unlearned, change.clamp_max(0) * ratio),
            (self.hard, 1.0 - dice),
        ):
            average.copy_(torch.where(here, self.momentum * average + (1.0 - self.momentum) * new, average))
        self.last.copy_(torch.where(here, dice, self.last))
        return self.weights


class DHC(TwoNetworks):
    """Two networks with weights for hard and for rare classes.

    ``L_i = S(p_i(x_l), y_l; w_i) + l(k) CE(p_i(x), argmax p_j(x); w_i)`` with i = 1, 2, j = 3 - i, x all
    scans, and ``S = CE - sum_c w_c Dice_c / (K - 1)`` over the foreground classes. CE is the mean weighted
    by w. w_1 is larger for classes whose Dice on labels is low or falls, w_2 for those that are rare in what
    is predicted.

    For many classes of very different size. The two kinds of weights also keep the two networks apart. Both
    lie in [0, K] and are updated before the losses of a step. w_1 comes from what the first network says of
    labeled scans, w_2 from the classes that the second one sees in unlabeled ones. The Dice term is
    subtracted and can be as large as K: losses of this method are below 0 in the end.

    In w_2 the most frequent class, which is the background, has the weight 0, so that cross-entropy never
    tells the second network of it; ``floor`` bounds all weights from below, and with two classes it should be
    above 0. The release counts the classes of all labeled scans before it begins; here those of the labeled
    patches seen so far stand for them, and their part is gone after a few hundred steps.

    A patch holds few of many classes. In the release an absent one counts as half learned in w_1; in w_2 it
    counts as 1e-8 voxels, which presses the weights of all others together. That is ``absent="released"``;
    by default w_1 of such a class stays as it is, and w_2 has it at one voxel.

    The released tables are of labels at half the resolution in the plane. A class that neither the labels
    nor the prediction have is scored as one percent in them.

    Args:
        weight: l_max, the weight of the cross term at the end of the ramp, which is ``exp(-5 (1 - t)^2)``
            over its length.
        momentum: of w_2.
        difficulty_steps: over which w_1 averages.
        difficulty_power: of the ratio of what is unlearned to what is learned, in w_1.
        floor: smallest weight of a class.
        absent: ``apart`` or ``released``, see above.
        ramp: length of the ramp in iterations; None is the whole run, as published.
        ramp_unit: the ramp moves in stairs of this many iterations (an epoch in the code).
        predict_with: the exported network: the ``first``, the ``second``, or the ``average`` of their
            probabilities (published), which takes as long as both.
    """

    facts = Facts(
        title="DHC",
        family="Several networks",
        papers=(Paper("DHC", "Wang & Li", "MICCAI", 2023, "arXiv:2307.11960"),),
        networks=2,
        trained=2,
        work=2.0,
    )

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 0.1,
        momentum: Share = 0.99,
        difficulty_steps: Length = 50,
        difficulty_power: Positive = 0.2,
        floor: Amount = 0.0,
        absent: Literal["apart", "released"] = "apart",
        ramp: Length | None = None,
        ramp_unit: Length = 1,
        predict_with: Literal["first", "second", "average"] = "average",
    ) -> None:
        super().__init__(make_net, predict_with=predict_with, weight=weight, ramp=ramp, ramp_unit=ramp_unit)
        classes = fact(self.net, "classes", "dhc")
        self.difficulty = DifficultyWeights(classes, difficulty_steps, difficulty_power, absent)
        self.distribution = DistributionWeights(classes, momentum, absent)
        self.floor = floor
        if absent == "released":
            self.deviates(
                "dhc: classes that are not in a batch change the weights of the others, as released",
                as_published=True,
            )

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """Both networks on [x_l, x_u], the weights, then an update of each."""
        x, n = torch.cat([batch.x_l, batch.x_u["weak"]]), len(batch.x_l)
        answers = [self.net(x).logits.float(), self.net2(x).logits.float()]
        classes = [z.argmax(1) for z in answers]
        weights = [
            self.difficulty.update(batch.y_l, classes[0][:n]).clamp_min(self.floor),
            self.distribution.update(batch.y_l, classes[1][n:]).clamp_min(self.floor),
        ]
        yield from [
            self.total(self.weighted(z[:n], batch.y_l, w), cross_entropy(z, other, weights=w), t, on=on)
            for z, other, w, on in zip(answers, reversed(classes), weights, self.trainable, strict=True)
        ]

    def weighted(self, logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """S: cross-entropy less the mean of ``w_c Dice_c`` over the foreground classes."""
        missing = dice_loss(
            logits.softmax(1),
            target,
            include_background=False,
            squared=False,
            weights=weights[1:],
            smooth=1.0,
        )
        return cross_entropy(logits, target, weights=weights) + missing - weights[1:].mean()
