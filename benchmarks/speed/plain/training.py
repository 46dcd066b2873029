"""One training step of three methods in the style of the published scripts: float32, pass after pass."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def ramp(k: int, length: float) -> float:
    """The sigmoid ramp, from e^-5 to 1."""
    return math.exp(-5.0 * (1.0 - min(k, length) / length) ** 2)


def dice(score: Tensor, target: Tensor) -> Tensor:
    """One minus soft Dice of one class, over the whole batch."""
    target = target.float()
    overlap = torch.sum(score * target)
    return 1 - (2 * overlap + 1e-5) / (torch.sum(score * score) + torch.sum(target * target) + 1e-5)


class Supervised:
    """Cross-entropy and Dice on the labeled samples, which come first in the batch.

    Args:
        net: on its device, in train mode.
        labeled: samples with a label.
        classes_of_dice: those that the Dice loss counts: (1,) on the left atrium, all on ACDC.
        total: iterations of the run.
    """

    def __init__(
        self, net: nn.Module, labeled: int, classes_of_dice: tuple[int, ...] = (1,), total: int = 6000
    ) -> None:
        self.net, self.labeled, self.classes, self.total = net, labeled, classes_of_dice, total
        self.optimizer = torch.optim.SGD(
            net.parameters(), lr=0.01, momentum=0.9, weight_decay=0.0001, foreach=False
        )

    def step(self, images: Tensor, labels: Tensor, k: int) -> float:
        """Iteration ``k``: images (B, 1, *S), labels (B, *S) int64; the loss."""
        loss = self.loss(images, labels, k)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.after(k)
        return loss.item()

    def loss(self, images: Tensor, labels: Tensor, k: int) -> Tensor:
        return self.supervised(self.net(images), labels)

    def supervised(self, outputs: Tensor, labels: Tensor) -> Tensor:
        n = self.labeled
        loss_ce = F.cross_entropy(outputs[:n], labels[:n])
        soft = F.softmax(outputs, dim=1)
        loss_dice = sum(dice(soft[:n, c], labels[:n] == c) for c in self.classes) / len(self.classes)
        return 0.5 * (loss_ce + loss_dice)

    def after(self, k: int) -> None:
        """Nothing to average."""


class MeanTeacher(Supervised):
    """Squared difference to a moving average that sees noisier images; zero before ``hold_off``."""

    def __init__(
        self,
        net: nn.Module,
        teacher: nn.Module,
        labeled: int,
        *,
        noise: float = 0.1,
        hold_off: int = 0,
        **more,
    ) -> None:
        super().__init__(net, labeled, **more)
        self.teacher, self.noise, self.hold_off = teacher, noise, hold_off
        for p in teacher.parameters():
            p.detach_()

    def shaken(self, images: Tensor) -> Tensor:
        limit = 2 * self.noise
        return images + torch.clamp(torch.randn_like(images) * self.noise, -limit, limit)

    def weight(self, k: int) -> float:
        return 0.1 * ramp(k // 150, self.total / 150) if k >= self.hold_off else 0.0

    def loss(self, images: Tensor, labels: Tensor, k: int) -> Tensor:
        unlabeled = images[self.labeled :]
        outputs = self.net(images)
        with torch.no_grad():
            targets = self.teacher(self.shaken(unlabeled))
        difference = self.difference(outputs[self.labeled :], targets)
        return self.supervised(outputs, labels) + self.weight(k) * difference.mean()

    def difference(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (F.softmax(outputs, dim=1) - F.softmax(targets, dim=1)) ** 2

    def after(self, k: int) -> None:
        alpha = min(1 - 1 / (k + 1), 0.99)
        for average, p in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
            average.data.mul_(alpha).add_(p.data, alpha=1 - alpha)


class UAMT(MeanTeacher):
    """The same where the mean of eight further passes, two copies of the images each, has little entropy."""

    passes = 8

    def loss(self, images: Tensor, labels: Tensor, k: int) -> Tensor:
        unlabeled = images[self.labeled :]
        outputs = self.net(images)
        with torch.no_grad():
            targets = self.teacher(self.shaken(unlabeled))
        certain = self.entropy(unlabeled) < (0.75 + 0.25 * ramp(k, self.total)) * math.log(2)
        certain = certain.float()
        difference = self.difference(outputs[self.labeled :], targets)
        consistency = torch.sum(certain * difference) / (2 * torch.sum(certain) + 1e-16)
        return self.supervised(outputs, labels) + self.weight(k) * consistency

    def entropy(self, unlabeled: Tensor) -> Tensor:
        """(B, 1, *S)."""
        stride = len(unlabeled)
        two = unlabeled.repeat(2, *[1] * (unlabeled.ndim - 1))
        predictions = torch.zeros([stride * self.passes, 2, *unlabeled.shape[2:]], device=unlabeled.device)
        for n in range(self.passes // 2):
            with torch.no_grad():
                predictions[2 * stride * n : 2 * stride * (n + 1)] = self.teacher(self.shaken(two))
        predictions = F.softmax(predictions, dim=1)
        mean = predictions.reshape(self.passes, stride, 2, *unlabeled.shape[2:]).mean(dim=0)
        return -torch.sum(mean * torch.log(mean + 1e-6), dim=1, keepdim=True)
