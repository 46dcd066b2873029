"""Weights of the classes that are learned during training: by how rare a class is, and by how hard it is.

As in DHC (Wang & Li 2023, arXiv:2307.11960). All counts are over the voxels of all ranks.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from semiseg.core import IGNORE
from semiseg.methods.parts.ranks import mean_over_ranks

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
        """Take in a step and return the new weights.

        Args:
            labels: of the labeled patches, classes or :data:`IGNORE`.
            predicted: classes of the unlabeled patches.
        """
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
        """Take in the labeled patches of a step and return the new weights.

        Args:
            labels: (B, *S), classes or :data:`IGNORE`.
            predicted: (B, *S), classes.
        """
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
