"""Batches as a pure function of (seed, iteration), so that nothing has to be rewound or saved.

Where it pays, a thread makes the next batch while the method works on this one.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.batches.augment import Augmentation
from semiseg.batches.augment.draws import Draws, seed_from
from semiseg.batches.augment.plain import stack
from semiseg.batches.targets import make_targets, require_known
from semiseg.core import IGNORE, SHIFTED, Batch
from semiseg.preparation.plan import Plan
from semiseg.preparation.resident import Resident, unpacked

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, less their whole parts, lie evenly in [0, 1)."""


class Item(NamedTuple):
    """What a stream hands out: a case in 3D, one slice of a case in 2D."""

    case: Resident
    slice_index: int | None


class Batches:
    """``batches(k)`` is the batch of iteration k.

    Labeled and unlabeled samples are two endless streams of their own. The samples of iteration k are numbers
    ``k * size`` and following; with several processes each takes its share of them, and every sample has
    its own random generator, so one process and many see the same samples.

    A labeled case of weight w is drawn w times as often as one of weight 1. So its loss counts w times as
    much, whatever the method computes of a batch.

    Args:
        labeled: cases with a label, at least one.
        unlabeled: cases without; the labeled images serve where there are none. With ``pseudo`` their labels
            are those that a network gave them.
        plan: patch, dimension and share of foreground patches.
        augmentation: see :mod:`semiseg.batches.augment`.
        sizes: labeled and unlabeled samples per iteration, over all processes.
        views: views of the unlabeled samples; empty for none.
        labeled_views: further views of the labeled samples.
        targets: extra targets of the labeled samples, see :mod:`semiseg.batches.targets`.
        pseudo: hand on the labels of the unlabeled samples, which must have some.
        weights: labeled case -> weight, in (0, 1]; 1 where it is not named.
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
        labeled_views: Sequence[str] = (),
        targets: Sequence[str] = (),
        pseudo: bool = False,
        weights: Mapping[str, float] | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.plan, self.augmentation, self.sizes = plan, augmentation, sizes
        self.views, self.seed, self.rank, self.world = tuple(views), seed, rank, world
        self.labeled_views = ("labeled", *labeled_views)
        self.wide = augmentation.widened([edge // 2 for edge in plan.patch])
        require_known(targets)
        self.targets = tuple(targets)
        self.taught = {"labeled", "unlabeled"} if pseudo else {"labeled"}
        items = _items(labeled, plan)
        self.some_unlabeled = any(case.unlabeled for case in labeled)
        self.labeled = Stream(items, seed, "labeled", [(weights or {}).get(i.case.id, 1.0) for i in items])
        self.unlabeled = Stream(_items(unlabeled or labeled, plan), seed, "unlabeled")
        self.memory_format = torch.channels_last if plan.dim == 2 else torch.channels_last_3d

    def __call__(self, step: int) -> Batch:
        """The batch of an iteration, on the cases' device."""
        size = self.sizes[0]
        x_l, y_l, shifts_l = self._samples(self.labeled, "labeled", step, size, self.labeled_views)
        x_u: dict[str, Tensor] = {}
        shifts_u: list[tuple[int, ...]] = []
        pseudo = None
        if self.views and self.sizes[1]:
            x_u, pseudo, shifts_u = self._samples(
                self.unlabeled, "unlabeled", step, self.sizes[1], self.views
            )
        if y_l is None:
            raise ValueError("a labeled case without a label reached the batches")
        targets = make_targets(self.targets, y_l, self.plan.classes)
        shifts = {name: known for name, known in (("labeled", shifts_l), ("unlabeled", shifts_u)) if known}
        head = self.plan.head
        confidence: Tensor | None = None
        if pseudo is not None and pseudo.dtype == torch.int16:
            pseudo, confidence = unpacked(pseudo)
        form = head.candidates if self.some_unlabeled and not head.regions else head.targets
        taught = None if pseudo is None else form(pseudo)
        first = x_l.pop(self.labeled_views[0])
        labels = form(y_l)
        if self.some_unlabeled:
            for sample, number in enumerate(self._numbers(step, size)):
                _leave_open(labels[sample], self.labeled[number].case.unlabeled)
        return Batch(first, labels, x_u, targets, x_l, shifts, taught, confidence)

    def drawn_alike(self, sizes: tuple[int, int]) -> Batches:
        """Other batches of the same cases, for comparing labeled with unlabeled ones.

        All crops are random and ``weak``: none is centered on foreground. Not shared out among processes.
        """
        other = copy.copy(self)
        other.plan = self.plan.model_copy(update={"foreground": 0.0})
        other.sizes, other.views, other.targets, other.labeled_views = sizes, ("weak",), (), ("weak",)
        other.taught = {"labeled"}
        other.seed, other.rank, other.world = seed_from(self.seed, "drawn alike"), 0, 1
        whole = [item for item in self.labeled.items if not item.case.unlabeled]
        other.some_unlabeled = self.some_unlabeled and not whole
        other.labeled = Stream(whole or self.labeled.items, other.seed, "labeled")
        other.unlabeled = Stream(self.unlabeled.items, other.seed, "unlabeled")
        return other

    def _samples(
        self, stream: Stream[Item], name: str, step: int, size: int, views: Sequence[str]
    ) -> tuple[dict[str, Tensor], Tensor | None, list[tuple[int, ...]]]:
        """Views, labels, and how far the second crop of each sample is from the first, if it is a view."""
        augmentation = self.wide if SHIFTED in views else self.augmentation
        numbers = self._numbers(step, size)
        foreground = self.plan.foreground if name in self.taught else 0.0
        samples = []
        starts = []  # of two crops
        for n in numbers:
            item = stream[n]
            draws = Draws([(self.seed, name, n, "cut")])
            image, label = augmentation.cut(item.case, item.slice_index, draws, foreground=foreground)
            samples.append((image, label if name in self.taught else None))
            if SHIFTED in views:
                starts.append(augmentation.starts(item.case, Draws([(self.seed, name, n, "crops")])))
        images, labels = stack(samples)
        device = images.device
        warp = Draws([(self.seed, name, n, "warp") for n in numbers], device)
        images, labels = augmentation.warp(images, labels, warp)
        seen = {}
        for view in views:
            if view != SHIFTED:
                draws = Draws([(self.seed, name, n, view) for n in numbers], device)
                seen[view] = augmentation.view(view, images, draws)
        shifts: list[tuple[int, ...]] = []
        if SHIFTED in views:
            at, moved_to = [a for a, _ in starts], [b for _, b in starts]
            moved = self._crops(seen[views[0]], moved_to)
            seen = {view: self._crops(wide, at) for view, wide in seen.items()} | {SHIFTED: moved}
            labels = None if labels is None else self._crops(labels[:, None], at)[:, 0]
            shifts = [tuple(b - a for a, b in zip(*pair, strict=True)) for pair in starts]
        form = self.memory_format
        return {view: x.contiguous(memory_format=form) for view, x in seen.items()}, labels, shifts

    def _numbers(self, step: int, size: int) -> range:
        """Of the samples of this process in a stream."""
        share = size // self.world
        first = step * size + self.rank * share
        return range(first, first + share)

    def _crops(self, images: Tensor, starts: Sequence[Sequence[int]]) -> Tensor:
        """(B, C, *patch), of each image the patch that begins there."""
        boxes = [
            tuple(slice(a, a + edge) for a, edge in zip(start, self.plan.patch, strict=True))
            for start in starts
        ]
        return torch.stack([image[(slice(None), *box)] for image, box in zip(images, boxes, strict=True)])


def _leave_open(labels: Tensor, channels: Sequence[int]) -> None:
    """What nobody labeled in a sample, in place.

    Its regions are unknown. Of classes, a voxel of the background or of such a class may be any of these.
    """
    if labels.dtype != torch.bool:
        labels[list(channels)] = IGNORE
    elif channels:
        either = [0, *channels]
        labels[either] |= labels[either].any(0)


def _items(cases: Sequence[Resident], plan: Plan) -> list[Item]:
    if plan.dim == 3:
        return [Item(case, None) for case in cases]
    return [Item(case, i) for case in cases for i in range(case.shape[0])]


T = TypeVar("T")


class Stream(Generic[T]):
    """Pass after pass over the items, each pass in a fresh order that depends only on (seed, name, pass).

    An item of weight w, in (0, 1], takes part in a share w of the passes, evenly: in every second one for
    1/2. Before pass p it has been handed out ``floor(w p + a)`` times. The a, in [0, 1), differ from item to
    item, so that passes are about equally long.
    """

    def __init__(self, items: Sequence[T], seed: int, name: str, weights: Sequence[float] = ()) -> None:
        self.items = items
        self._seed, self._name = seed, name
        self._weights = np.array(weights) if weights else np.ones(len(items))
        self._offsets = np.arange(len(items)) * GOLDEN % 1
        self._first, self._order = 0, np.zeros(0, np.int64)  # of the pass at hand

    def __getitem__(self, n: int) -> T:
        if not 0 <= n - self._first < len(self._order):
            self._begin(self._pass_of(n))
        return self.items[int(self._order[n - self._first])]

    def _begin(self, number: int) -> None:
        generator = torch.Generator().manual_seed(seed_from(self._seed, self._name, number))
        before = self._handed_out(number)
        there = np.flatnonzero(self._handed_out(number + 1) > before)
        self._first = int(before.sum())
        self._order = there[torch.randperm(len(there), generator=generator).numpy()]

    def _pass_of(self, n: int) -> int:
        """The pass in which number n is handed out: the last one before which no more than n were."""
        last = int((n + len(self.items)) / self._weights.sum()) + 1
        return bisect_right(range(last), n, key=lambda number: int(self._handed_out(number).sum())) - 1

    def _handed_out(self, number: int) -> NDArray[np.int64]:
        """How often each item was handed out before a pass."""
        return np.floor(self._weights * number + self._offsets).astype(np.int64)


class Prefetch:
    """``batches`` with a thread of its own.

    For batches that would keep the training waiting: from a disk, with distance maps, or on a GPU, whose
    kernels are then started in time. On a CPU that has the cases in memory there is nothing to gain: the
    threads of the training need every core.

    A call gives the batch of its iteration, and leaves the thread making the next one. The batches are a pure
    function of the iteration, so a call out of order takes longer, and nothing else. All batches are made by
    the one thread, never two at a time. What goes wrong in it is raised by the call for that iteration.

    On CUDA the thread works on a stream of its own, so that its copies and transforms run beside the
    training, not between its kernels. The caller's stream waits for a batch, the caller itself does not.

    Args:
        batches: iteration -> batch.
        total: iterations of the run; nothing is made beyond them.
        device: of the batches.
        pauses: iterations whose batch must not be made before it is asked for.
    """

    def __init__(
        self,
        batches: Callable[[int], Batch],
        total: int,
        device: torch.device | str = "cpu",
        pauses: Collection[int] = (),
    ) -> None:
        self.batches, self.total, self.pauses = batches, total, frozenset(pauses)
        self._thread = ThreadPoolExecutor(1, "batches")
        self._step = -1
        self._next: Future[Batch] | None = None
        self._stream: torch.cuda.Stream | None = None
        if torch.device(device).type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # the cases are being copied there

    def __call__(self, step: int) -> Batch:
        """The batch of an iteration."""
        if self._next is None or self._step != step:
            self._next = self._thread.submit(self._make, step)
        waited, self._next = self._next, None
        batch = waited.result()
        if self._stream is not None:
            _hand_over(batch, self._stream)
        if step + 1 < self.total and step + 1 not in self.pauses:
            self._step, self._next = step + 1, self._thread.submit(self._make, step + 1)
        return batch

    def _make(self, step: int) -> Batch:
        with torch.cuda.stream(self._stream):  # without a stream this does nothing
            return self.batches(step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread, after the batch that it is making."""
        self._thread.shutdown(cancel_futures=True)


def _hand_over(batch: Batch, made_on: torch.cuda.Stream) -> None:
    """Let the current stream read what another one wrote, and keep the memory until it has."""
    here = torch.cuda.current_stream(made_on.device)
    here.wait_stream(made_on)
    for tensor in _tensors(batch):
        tensor.record_stream(here)


def _tensors(batch: Batch) -> Iterator[Tensor]:
    named = (batch.x_u, batch.targets, batch.views_l)
    yield from (batch.x_l, batch.y_l, *(tensor for tensors in named for tensor in tensors.values()))
    if batch.pseudo is not None:
        yield batch.pseudo
    if batch.confidence is not None:
        yield batch.confidence
