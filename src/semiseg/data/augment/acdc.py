"""The 2D protocol of ACDC: turned or slightly rotated slices at the patch's size, by nearest neighbor.

As in the published 2D codes (SSL4MIS): half of the slices get a quarter turn and a flip, the other half a
rotation by a whole angle in [-20, 19] degrees; then the slice is resized to the network's size. Image and
label alike, zeros outside. Both steps only look voxels up, so they become one lookup.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.data.augment.draws import Draws
from semiseg.data.augment.plain import Crop
from semiseg.data.plan import Plan
from semiseg.data.resident import Resident
from semiseg.errors import UsageError
from semiseg.option_values import Count


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
    """

    def __init__(self, plan: Plan, *, rotation: Count = 20) -> None:
        super().__init__(plan)
        if plan.dim != 2:
            raise UsageError(
                "augmentation 'acdc' is for 2D plans, got dim 3",
                hint="use --set augment.name=default, or a plan of the other dimension (--set plan.dim=2)",
                code="AUGMENT_DIM",
            )
        self.rotation = rotation

    def cut(
        self, case: Resident, slice_index: int | None, draws: Draws, *, foreground: float
    ) -> tuple[Tensor, Tensor | None]:
        """A resized slice; ``foreground`` is not part of this protocol."""
        depth, rows, columns = case.shape
        index = draws.integer(depth) if slice_index is None else slice_index
        image, label = case.crop((index, 0, 0), (1, rows, columns))
        image, label = image[:, 0], None if label is None else label[0]
        if draws.integer(2):
            turns, axis = draws.integer(4), draws.integer(2)
            first = turn_lookup((rows, columns), turns, axis)
        else:
            first = rotate_lookup((rows, columns), draws.integer(2 * self.rotation) - self.rotation)
        lookup = compose(first, resize_lookup(first.source.shape, self.patch))
        return look_up(image, lookup), None if label is None else look_up(label, lookup)


def turn_lookup(shape: tuple[int, int], turns: int, axis: int) -> Lookup:
    """``turns`` quarter turns, then a flip along axis 0 (rows) or 1 (columns)."""
    index = np.arange(shape[0] * shape[1]).reshape(shape)
    return Lookup(np.flip(np.rot90(index, turns), axis))


def rotate_lookup(shape: tuple[int, int], angle: float) -> Lookup:
    """A rotation by ``angle`` degrees about the center; the slice keeps its size."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape)
    r = cos * rows[:, None] + sin * columns[None] + (shape[0] - 1) / 2
    c = -sin * rows[:, None] + cos * columns[None] + (shape[1] - 1) / 2
    inside = (r >= 0) & (r <= shape[0] - 1) & (c >= 0) & (c <= shape[1] - 1)
    return Lookup(_nearest(r, shape[0]) * shape[1] + _nearest(c, shape[1]), inside)


def resize_lookup(shape: tuple[int, ...], size: tuple[int, ...]) -> Lookup:
    """Another size; corners of both grids coincide."""
    rows, columns = (
        _nearest(np.arange(m) * ((n - 1) / max(m - 1, 1)), n) for n, m in zip(shape, size, strict=True)
    )
    return Lookup(rows[:, None] * shape[1] + columns)


def compose(first: Lookup, second: Lookup) -> Lookup:
    """The lookup that does ``first``, then ``second``."""
    inside = second.inside
    if first.inside is not None:
        found = first.inside.reshape(-1)[second.source]
        inside = found if inside is None else found & inside
    return Lookup(first.source.reshape(-1)[second.source], inside)


def look_up(image: Tensor, lookup: Lookup) -> Tensor:
    """(..., H, W) -> (..., H', W'), zeros where nothing is found."""
    index = torch.from_numpy(np.ascontiguousarray(lookup.source)).to(image.device, non_blocking=True)
    found = image.flatten(-2).index_select(-1, index.view(-1)).view(*image.shape[:-2], *index.shape)
    if lookup.inside is None:
        return found
    return found * torch.from_numpy(lookup.inside).to(image.device, non_blocking=True)


def _nearest(position: NDArray[np.floating[Any]], n: int) -> NDArray[np.intp]:
    nearest: NDArray[np.intp] = np.clip(np.floor(position + 0.5), 0, n - 1).astype(np.intp)
    return nearest
