"""Batches: a pure function of (seed, iteration)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semiseg.core import Batch
from semiseg.data.augment import Augmentation
from semiseg.data.augment.draws import Draws
from semiseg.data.augment.plain import stack
from semiseg.data.plan import Plan
from semiseg.data.resident import Resident
from semiseg.data.streams import Stream
from semiseg.data.targets import make_targets, require_known


class Item(NamedTuple):
    """What a stream hands out: a case in 3D, one slice of a case in 2D."""

    case: Resident
    slice_index: int | None


class Batches:
    """``batches(k)`` is the batch of iteration k.

    Labeled and unlabeled samples are two endless streams of their own. The samples of iteration k are numbers
    ``k * size`` and following; with several processes each takes its share of them, and every sample has
    its own random generator, so one process and many see the same samples.

    Args:
        labeled: cases with a label, at least one.
        unlabeled: cases without; the labeled images serve where there are none. With ``pseudo`` their labels
        are
            those that a network gave them.
        plan: patch, dimension and share of foreground patches.
        augmentation: see :mod:`semiseg.data.augment`.
        sizes: labeled and unlabeled samples per iteration, over all processes.
        views: views of the unlabeled samples; empty for none.
        targets: extra targets of the labeled samples, see :mod:`semiseg.data.targets`.
        pseudo: hand on the labels of the unlabeled samples, which must have some.
        seed: of everything random here.
        rank: of this process, among ``world``.
        world: number of processes; both sizes must be multiples of it.

    Attributes:
        memory_format: of the images.

    Raises:
        UsageError: a target that is not known.
    """

    def __init__(
        self,
        labeled: Sequence[Resident],
        unlabeled: Sequence[Resident],
        plan: Plan,
        augmentation: Augmentation,
        sizes: tuple[int, int],
        *,
        views: Sequence[str] = ("weak",),
        targets: Sequence[str] = (),
        pseudo: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.plan, self.augmentation, self.sizes = plan, augmentation, sizes
        self.views, self.seed, self.rank, self.world = tuple(views), seed, rank, world
        require_known(targets)
        self.targets = tuple(targets)
        self.taught = {"labeled", "unlabeled"} if pseudo else {"labeled"}
        self.labeled = Stream(_items(labeled, plan), seed, "labeled")
        self.unlabeled = Stream(_items(unlabeled or labeled, plan), seed, "unlabeled")
        self.memory_format = torch.channels_last if plan.dim == 2 else torch.channels_last_3d

    def __call__(self, step: int) -> Batch:
        """The batch of an iteration, on the cases' device."""
        x_l, y_l = self._samples(self.labeled, "labeled", step, self.sizes[0], ("labeled",))
        x_u: dict[str, Tensor] = {}
        pseudo = None
        if self.views and self.sizes[1]:
            x_u, pseudo = self._samples(self.unlabeled, "unlabeled", step, self.sizes[1], self.views)
        if y_l is None:
            raise ValueError("a labeled case without a label reached the batches")
        targets = make_targets(self.targets, y_l, self.plan.classes)
        return Batch(x_l["labeled"], y_l.long(), x_u, targets, None if pseudo is None else pseudo.long())

    def _samples(
        self, stream: Stream[Item], name: str, step: int, size: int, views: Sequence[str]
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        share = size // self.world
        first = step * size + self.rank * share
        numbers = range(first, first + share)
        foreground = self.plan.foreground if name in self.taught else 0.0
        samples = []
        for n in numbers:
            item = stream[n]
            draws = Draws([(self.seed, name, n, "cut")])
            image, label = self.augmentation.cut(item.case, item.slice_index, draws, foreground=foreground)
            samples.append((image, label if name in self.taught else None))
        images, labels = stack(samples)
        device = images.device
        warp = Draws([(self.seed, name, n, "warp") for n in numbers], device)
        images, labels = self.augmentation.warp(images, labels, warp)
        seen = {}
        for view in views:
            draws = Draws([(self.seed, name, n, view) for n in numbers], device)
            seen[view] = self.augmentation.view(view, images, draws).contiguous(
                memory_format=self.memory_format
            )
        return seen, labels


def _items(cases: Sequence[Resident], plan: Plan) -> list[Item]:
    if plan.dim == 3:
        return [Item(case, None) for case in cases]
    return [Item(case, i) for case in cases for i in range(case.shape[0])]
