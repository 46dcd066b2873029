"""CutMix between unlabeled samples, in any number of axes, with labels and confidences cut along."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semiseg.core import IGNORE


class Taught(NamedTuple):
    """What a model says of samples: its classes, and how sure it is of each voxel."""

    classes: Tensor
    """(B, *S) int64."""
    confidence: Tensor
    """(B, *S) float32 in [1 / K, 1], the largest probability."""

    @classmethod
    def of(cls, logits: Tensor) -> Taught:
        """Of logits (B, K, *S), without their gradient."""
        confidence, classes = logits.detach().float().softmax(1).max(1)
        return cls(classes, confidence)

    def pasted(self, other: Taught, boxes: Tensor) -> Taught:
        """The other's inside of ``boxes`` (B, *S), these outside."""
        return Taught(*(torch.where(boxes, theirs, mine) for mine, theirs in zip(self, other, strict=True)))

    def rows(self, order: Tensor) -> Taught:
        """Samples in another order, (B,) int64."""
        return Taught(self.classes[order], self.confidence[order])

    def sure(self, threshold: float) -> Tensor:
        """The classes, and :data:`IGNORE` where the confidence is below the threshold."""
        return self.classes.masked_fill(self.confidence < threshold, IGNORE)


def paste(images: Tensor, others: Tensor, boxes: Tensor) -> Tensor:
    """``others`` inside of ``boxes`` (B, *S), ``images`` (B, C, *S) outside."""
    return torch.where(boxes[:, None], others, images)


def draw_boxes(
    count: int,
    size: Sequence[int],
    *,
    chance: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: tuple[float, float] = (0.3, 1 / 0.3),
    device: torch.device | str = "cpu",
) -> Tensor:
    """A box for each of ``count`` samples, from torch's CPU generator (Yun et al. 2019, arXiv:1905.04899).

    As UniMatch has it (Yang et al. 2023, arXiv:2208.09910): the share of the image's voxels is drawn once
    within ``area``, then ratio and place until the box fits. ``ratio`` bounds that of the first side to the
    second, relative to the image's. In 3D the box has a share of the third axis too.

    Returns:
        (count, *S) bool, True inside; a sample has a box with the probability ``chance``.
    """
    boxes = torch.zeros((count, *size), dtype=torch.bool)
    for mask in boxes:
        if uniform(0.0, 1.0) < chance:
            mask[_draw_box(size, uniform(*area), ratio)] = True
    return boxes.to(device, non_blocking=True)


def draw_beta_boxes(
    count: int, size: Sequence[int], alpha: float = 4.0, *, device: torch.device | str = "cpu"
) -> Tensor:
    """A box for each sample around a center of its own, all of one size, cut off at the border.

    As AD-MT has it (Zhao et al. 2024, arXiv:2311.17325): half a side is ``floor(S sqrt(1 - l)) // 2`` with
    one ``l ~ Beta(alpha, alpha)``, and centers lie from ``S // 8`` on. (count, *S) bool, True inside.
    """
    left = float(torch.distributions.Beta(alpha, alpha, validate_args=False).sample())
    boxes = torch.zeros((count, *size), dtype=torch.bool)
    for mask in boxes:
        mask[box_around([integer(n // 8, n) for n in size], size, left)] = True
    return boxes.to(device, non_blocking=True)


def sides(size: Sequence[int], area: float, ratio: float) -> tuple[int, ...]:
    """Of a box of a share ``area`` of the image: ``S_i (area f_i)^(1/d)`` rounded down.

    ``f`` is (ratio, 1 / ratio) in 2D and (1 / ratio, ratio, 1) in 3D.
    """
    factors = (ratio, 1 / ratio) if len(size) == 2 else (1 / ratio, ratio, 1.0)
    if len(size) == 2:
        return tuple(int(n * math.sqrt(area * f)) for n, f in zip(size, factors, strict=True))
    return tuple(int(n * (area * f) ** (1 / len(size))) for n, f in zip(size, factors, strict=True))


def box_around(center: Sequence[int], size: Sequence[int], left: float) -> tuple[slice, ...]:
    """The box of :func:`draw_beta_boxes`, which leaves a share ``left`` of a plane."""
    halves = [int(n * math.sqrt(1.0 - left)) // 2 for n in size]
    return tuple(slice(max(c - h, 0), min(c + h, n)) for c, h, n in zip(center, halves, size, strict=True))


def uniform(low: float, high: float) -> float:
    """A number from torch's CPU generator."""
    return low + (high - low) * float(torch.rand(()))


def integer(low: int, high: int) -> int:
    """A whole number in [low, high) from torch's CPU generator."""
    return int(torch.randint(low, high, ()))


def _draw_box(size: Sequence[int], area: float, ratio: tuple[float, float]) -> tuple[slice, ...]:
    while True:
        edges = sides(size, area, uniform(*ratio))
        starts = [integer(0, n) for n in size]
        if all(a + edge <= n for a, edge, n in zip(starts, edges, size, strict=True)):
            return tuple(slice(a, a + edge) for a, edge in zip(starts, edges, strict=True))
