"""What transformation consistency is built of: changes of geometry, drawn per sample, that can be undone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


class Transform(ABC):
    """One change of geometry per sample of a batch: drawn or given, and fixed from then on."""

    @abstractmethod
    def apply(self, images: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S), the transformed images, out of place."""

    @abstractmethod
    def invert(self, maps: Tensor) -> Tensor:
        """(B, K, *S) in the transformed frame -> the same in the frame of the images, 0 where not known."""

    def valid(self, maps: Tensor) -> Tensor:
        """(B, 1, *S) bool for maps (B, K, *S): where :meth:`invert` knows the answer."""
        return self.invert(torch.ones_like(maps[:, :1], dtype=torch.float32)) > 0.5


class Chain(Transform):
    """Transforms one after the other; undone in reverse."""

    def __init__(self, *steps: Transform) -> None:
        self.steps = steps

    def apply(self, images: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S), first step first."""
        for step in self.steps:
            images = step.apply(images)
        return images

    def invert(self, maps: Tensor) -> Tensor:
        """(B, K, *S) -> (B, K, *S), last step first."""
        for step in reversed(self.steps):
            maps = step.invert(maps)
        return maps


def by_group(x: Tensor, keys: Sequence[Key], move: Callable[[Tensor, Key], Tensor]) -> Tensor:
    """``move(samples, key)`` once for all samples that share a key; the samples' order stays.

    Args:
        x: (B, ...).
        keys: one per sample.
        move: gets (n, ...) and gives as many samples.
    """
    groups: dict[Key, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    order = [i for members in groups.values() for i in members]
    together = order == list(range(len(x)))  # then nothing has to be moved to stand by its like
    parts = torch.split(x if together else x[order], [len(members) for members in groups.values()])
    moved = torch.cat([move(part, key) for part, key in zip(parts, groups, strict=True)])
    return moved if together else moved[[order.index(i) for i in range(len(x))]]
