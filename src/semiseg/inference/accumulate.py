"""The running sums of window probabilities, held only while windows still add to them.

Windows come in the order of their first rows. Rows above the next window are final: their means are handed
out and their memory is free again, so that a long volume needs the sums of about one window's height.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semiseg.errors import DeviceError

log = logging.getLogger("semiseg.inference")

SHARE_OF_FREE_MEMORY = 0.5
"""The sums may take this share of a GPU's free memory; the forward passes need the rest."""

Start = tuple[int, ...]
"""The first voxel of a window along each axis."""


class Slab(NamedTuple):
    """Rows of a volume of which nothing will change any more."""

    start: int
    """The first row, an index of axis T0."""
    probabilities: Tensor
    """(K, rows, T1, T2) float32."""


class Grid(NamedTuple):
    """Where the windows of a volume lie and how they are averaged."""

    size: tuple[int, ...]
    """(T0, T1, T2)."""
    window: tuple[int, ...]
    """Voxels per axis."""
    cuts: tuple[int, ...]
    """Rows at which the sums are cut, 0 and T0 included; between two of them lies one slab."""
    weight: Tensor | None
    """(*window) float32; None where no two windows overlap and nothing is to be averaged."""
    received: tuple[Tensor, ...]
    """The weight that each voxel gets in all, as one vector per axis."""


class Accumulator:
    """Weighted sums of probabilities, cut into slabs that exist from their first window to their last."""

    def __init__(self, grid: Grid, device: torch.device) -> None:
        self._grid = grid
        self._weight = grid.weight
        self._device = device
        self._chosen = device.type != "cuda"
        self._sums: dict[int, Tensor] = {}
        self._next = 0

    def add(self, probabilities: Tensor, starts: Sequence[Start]) -> None:
        """Add a batch of windows, (B, K, *window), each at its place; all or, out of memory, none."""
        window = self._grid.window[0]
        touched = [self._slabs(start[0], start[0] + window) for start in starts]
        for slab in sorted({slab for slabs in touched for slab in slabs}):
            self._allocate(slab, probabilities.shape[1])
        probabilities = probabilities.to(self._device)
        if self._weight is not None:
            self._weight = self._weight.to(self._device)
        for values, start, slabs in zip(probabilities, starts, touched, strict=True):
            for slab in slabs:
                self._add(values, start, slab)

    def finished(self, row: int) -> Iterator[Slab]:
        """The slabs that end at or before ``row``, in order; they are let go."""
        cuts = self._grid.cuts
        while self._next + 1 < len(cuts) and cuts[self._next + 1] <= row:
            total = self._sums.pop(self._next)
            rows = slice(cuts[self._next], cuts[self._next + 1])
            self._next += 1
            if self._weight is not None:
                first, *others = self._grid.received
                for axis, vector in enumerate((first[rows], *others)):
                    total /= vector.to(total.device).reshape(-1, *([1] * (2 - axis)))
            yield Slab(rows.start, total)

    def make_room(self, batch: int) -> int:
        """After running out of memory: fewer windows at once, then the sums moved to main memory.

        Raises:
            DeviceError: nothing is left to give.
        """
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if batch > 1:
            log.warning("out of memory with %d windows at once, continuing with %d", batch, batch // 2)
            return batch // 2
        if self._device.type != "cpu":
            log.warning("out of memory, keeping the probabilities in main memory")
            self._device, self._chosen = torch.device("cpu"), True
            self._sums = {slab: total.cpu() for slab, total in self._sums.items()}
            return batch
        raise DeviceError(
            "one single window does not fit into memory",
            hint="use a smaller patch (a new plan), fewer networks, or --device cpu",
            code="OUT_OF_MEMORY",
        )

    def _slabs(self, top: int, bottom: int) -> list[int]:
        cuts = self._grid.cuts
        return [i for i in range(self._next, len(cuts) - 1) if cuts[i] < bottom and cuts[i + 1] > top]

    def _add(self, values: Tensor, start: Start, slab: int) -> None:
        top, bottom = self._grid.cuts[slab : slab + 2]
        first, last = max(top, start[0]), min(bottom, start[0] + self._grid.window[0])
        plane = (slice(s, s + w) for s, w in zip(start[1:], self._grid.window[1:], strict=True))
        target = self._sums[slab][(slice(None), slice(first - top, last - top), *plane)]
        rows = slice(first - start[0], last - start[0])
        if self._weight is None:
            target.copy_(values[:, rows])
        else:
            target.addcmul_(values[:, rows], self._weight[rows])

    def _allocate(self, slab: int, classes: int) -> None:
        if slab in self._sums:
            return
        if not self._chosen:
            self._choose(classes)
        rows = self._grid.cuts[slab + 1] - self._grid.cuts[slab]
        shape = (classes, rows, *self._grid.size[1:])
        self._sums[slab] = torch.zeros(shape, dtype=torch.float32, device=self._device)

    def _choose(self, classes: int) -> None:
        """The GPU, or main memory where the most that is held at a time would not fit there."""
        self._chosen = True
        cuts = self._grid.cuts
        longest = max(b - a for a, b in itertools.pairwise(cuts))
        rows = min(self._grid.window[0] + longest, self._grid.size[0])
        wanted = 4 * classes * rows * self._grid.size[1] * self._grid.size[2]
        free, _ = torch.cuda.mem_get_info(self._device)
        if wanted > SHARE_OF_FREE_MEMORY * free:
            log.info("%.1f GB of probabilities do not fit on %s", wanted / 2**30, self._device)
            self._device = torch.device("cpu")
