"""The 2D protocol of ACDC: turned or slightly rotated slices at the patch's size, by nearest neighbor.

As in the published 2D codes (SSL4MIS): half of the slices get a quarter turn and a flip, the other half a
rotation by a whole angle in [-20, 19] degrees; then the slice is resized to the network's size. Image and
label alike, zeros outside. Both steps only look voxels up, so they become one lookup.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semiseg.data.augment.draws import Draws
from semiseg.data.augment.plain import Crop
from semiseg.data.plan import Plan
from semiseg.data.resident import Resident
from semiseg.errors import UsageError
from semiseg.option_values import Count

Lookup = tuple[Tensor, Tensor, Tensor]
"""Row index, column index and whether the voxel lies inside, each of the output's shape."""


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
            image = rotate_flip(image, turns, axis)
            label = None if label is None else rotate_flip(label, turns, axis)
            lookup = resize_lookup(image.shape[-2:], self.patch)
        else:
            angle = draws.integer(2 * self.rotation) - self.rotation
            lookup = compose(
                rotate_lookup((rows, columns), angle), resize_lookup((rows, columns), self.patch)
            )
        return look_up(image, lookup), None if label is None else look_up(label, lookup)


def rotate_flip(image: Tensor, turns: int, axis: int) -> Tensor:
    """``turns`` quarter turns of (..., H, W), then a flip along axis 0 (rows) or 1 (columns)."""
    return torch.rot90(image, turns, (-2, -1)).flip(axis - 2)


def rotate_lookup(shape: tuple[int, ...], angle: float) -> Lookup:
    """Where each voxel of a slice rotated by ``angle`` degrees about its center comes from."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in shape)
    r = cos * rows[:, None] + sin * columns[None] + (shape[0] - 1) / 2
    c = -sin * rows[:, None] + cos * columns[None] + (shape[1] - 1) / 2
    inside = (r >= 0) & (r <= shape[0] - 1) & (c >= 0) & (c <= shape[1] - 1)
    return _nearest(r, shape[0]), _nearest(c, shape[1]), inside


def resize_lookup(shape: tuple[int, ...], size: tuple[int, ...]) -> Lookup:
    """Where each voxel of a slice resized to ``size`` comes from; corners of both grids coincide."""
    axes = [
        _nearest(torch.arange(m, dtype=torch.float64) * ((n - 1) / max(m - 1, 1)), n)
        for n, m in zip(shape, size, strict=True)
    ]
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    return rows, columns, torch.ones_like(rows, dtype=torch.bool)


def compose(first: Lookup, second: Lookup) -> Lookup:
    """The lookup that does ``first``, then ``second``."""
    rows, columns, inside = second
    return first[0][rows, columns], first[1][rows, columns], first[2][rows, columns] & inside


def look_up(image: Tensor, lookup: Lookup) -> Tensor:
    """(..., H, W) -> (..., H', W'), zeros where nothing is found."""
    rows, columns, inside = (part.to(image.device, non_blocking=True) for part in lookup)
    return image[..., rows, columns] * inside


def _nearest(position: Tensor, n: int) -> Tensor:
    return (position + 0.5).floor().long().clamp(0, n - 1)
