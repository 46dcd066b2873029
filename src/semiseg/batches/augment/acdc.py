"""The 2D protocol of ACDC: turned or slightly rotated slices at the patch's size, by nearest neighbor.

As in the published 2D codes (SSL4MIS): half of the slices get a quarter turn and a flip, the other half a
rotation by a whole angle in [-20, 19] degrees; then the slice is resized to the network's size. Image and
label alike, zeros outside. Both steps only look voxels up, so they become one lookup. BCP, MC-Net, CML and
ICT leave half of those that are not turned, a quarter of all, as they are: ``untouched``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semiseg.batches.augment.draws import Draws
from semiseg.batches.augment.plain import Crop
from semiseg.errors import UsageError
from semiseg.preparation.plan import Plan
from semiseg.preparation.resident import Patch, Resident
from semiseg.settings.options import Count, Share

TURNED = 0.5
"""Share of the slices that get a quarter turn and a flip."""
MOVED = 0.15
"""Share of the slices of which two different crops are taken, where a method asks for two (Liu et al.,
arXiv:2203.14523)."""


class Lookup(NamedTuple):
    """Where each voxel of a new slice comes from. In NumPy: such small arrays gain nothing from threads."""

    source: NDArray[np.intp]
    """(H', W') where in the flat slice."""
    inside: NDArray[np.bool_] | None = None
    """(H', W'), false where nothing is found; None: all of it is there."""


class Acdc(Crop):
    """Whole slices at the patch's size.

    Args:
        plan: must be 2D.
        rotation: largest angle in degrees.
        untouched: share of the slices that are neither turned nor rotated, of the half that is not turned.

    Raises:
        UsageError: another dimension, or more than half untouched.
    """

    mirrored: tuple[int, ...] = (0, 1)

    def __init__(self, plan: Plan, *, rotation: Count = 20, untouched: Share = 0.0) -> None:
        super().__init__(plan)
        if plan.dim != 2:
            raise UsageError(
                "augmentation 'acdc' is for 2D plans, got dim 3",
                hint="use --set augment.name=default, or a plan of the other dimension (--set plan.dim=2)",
                code="AUGMENT_DIM",
            )
        if untouched > TURNED:
            raise UsageError(
                f"untouched={untouched:g}: half of the slices are turned",
                hint=f"give at most {TURNED}",
                code="AUGMENT",
            )
        self.rotation, self.untouched = rotation, untouched
        self.size = self.patch

    def cut(
        self, case: Resident, slice_index: int | None, draws: Draws, *, foreground: float
    ) -> tuple[Patch, Patch | None]:
        """A resized slice; ``foreground`` is not part of this protocol."""
        depth, rows, columns = case.shape
        index = draws.integer(depth) if slice_index is None else slice_index
        image, label = case.crop((index, 0, 0), (1, rows, columns))
        if draws.integer(2):
            turns, axis = draws.integer(4), draws.integer(2)
            lookup = turn_lookup((rows, columns), turns, axis, self.size)
        else:
            still = self.untouched and float(draws.uniform(0, 1)) < self.untouched / TURNED
            angle = 0 if still else draws.integer(2 * self.rotation) - self.rotation
            lookup = rotate_lookup((rows, columns), angle, self.size)
        found = look_up(image[:, 0], lookup), None if label is None else look_up(label[0], lookup)
        return (framed(found[0], self.reach), None if found[1] is None else framed(found[1], self.reach))

    def starts(self, case: Resident, draws: Draws) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of most slices the slice itself, twice; of :data:`MOVED`, two crops of it with zeros around it."""
        middle = tuple(more // 2 for more in self.reach)
        if float(draws.uniform(0, 1)) >= MOVED:
            return middle, middle
        first, second = (tuple(draws.integer(more + 1) for more in self.reach) for _ in range(2))
        return first, second


def framed(slices: Patch, reach: Sequence[int]) -> Patch:
    """(..., H, W) with ``reach`` more voxels per axis, zeros, half of them before it."""
    if not any(reach):
        return slices
    before = [more // 2 for more in reach]
    sides = [(a, more - a) for a, more in zip(before, reach, strict=True)]
    if isinstance(slices, Tensor):
        return F.pad(slices, [*sides[1], *sides[0]])
    return np.pad(slices, [(0, 0)] * (slices.ndim - 2) + sides)


def turn_lookup(shape: tuple[int, int], turns: int, axis: int, size: Sequence[int] | None = None) -> Lookup:
    """``turns`` quarter turns, then a flip along axis 0 (rows) or 1 (columns), then resized to ``size``."""
    rows, columns = np.arange(shape[0]) * shape[1], np.arange(shape[1])  # a voxel is at the sum of its two
    for _ in range(turns):
        rows, columns = columns[::-1], rows
    rows, columns = (rows[::-1], columns) if axis == 0 else (rows, columns[::-1])
    i, j = resized((len(rows), len(columns)), size)
    return Lookup(np.add.outer(rows[i], columns[j]))


def rotate_lookup(shape: tuple[int, int], angle: float, size: Sequence[int] | None = None) -> Lookup:
    """A rotation by ``angle`` degrees about the center; the slice keeps its size, then gets ``size``."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    middle = [(n - 1) / 2 for n in shape]
    i, j = (index - m for index, m in zip(resized(shape, size), middle, strict=True))
    r, c = np.add.outer(cos * i, sin * j), np.add.outer(-sin * i, cos * j)
    r += middle[0]  # in place: new memory would take longer than the sums
    c += middle[1]
    inside = (r >= 0) & (r <= shape[0] - 1) & (c >= 0) & (c <= shape[1] - 1)
    for position in (r, c):
        position += 0.5
        np.floor(position, out=position)
    r *= shape[1]
    r += c
    r *= inside
    return Lookup(r.astype(np.intp), inside)


def resized(shape: tuple[int, int], size: Sequence[int] | None) -> list[NDArray[np.intp]]:
    """Which rows and which columns make a slice of another size; corners of both grids coincide."""
    return [
        np.floor(np.arange(m) * ((n - 1) / max(m - 1, 1)) + 0.5).astype(np.intp)
        for n, m in zip(shape, size or shape, strict=True)
    ]


def look_up(image: Tensor, lookup: Lookup) -> Patch:
    """(..., H, W) -> (..., H', W'), zeros where nothing is found."""
    flat = image.flatten(-2)
    if image.device.type == "cpu":
        found = flat.numpy().take(lookup.source, axis=-1)
        return found if lookup.inside is None else np.multiply(found, lookup.inside, out=found)
    index = torch.from_numpy(lookup.source).to(image.device, non_blocking=True)
    seen = flat.index_select(-1, index.view(-1)).view(*image.shape[:-2], *index.shape)
    if lookup.inside is None:
        return seen
    return seen * torch.from_numpy(lookup.inside).to(image.device, non_blocking=True)
