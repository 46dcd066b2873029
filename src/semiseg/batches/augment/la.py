"""The left-atrium protocol: one of the eight symmetries of the square, then a random crop.

As in the published left-atrium codes (UA-MT, Yu et al. 2019, arXiv:1907.07034): always applied, in the plane
of the first two axes, no change of intensity.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from semiseg.batches.augment.draws import Draws
from semiseg.batches.augment.plain import Crop, place
from semiseg.errors import UsageError
from semiseg.preparation.plan import Plan
from semiseg.preparation.resident import Patch, Resident


class LeftAtrium(Crop):
    """Quarter turns and a flip of the scan, then the protocol's crop; done the other way round, which is the
    same, so that nothing but the crop is read.
    """

    mirrored: tuple[int, ...] = (0, 1)

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        if plan.dim != 3:
            raise UsageError(
                "augmentation 'la' is for 3D plans, got dim 2",
                hint="use --set augment.name=default, or a plan of the other dimension (--set plan.dim=3)",
                code="AUGMENT_DIM",
            )

    def cut(
        self, case: Resident, slice_index: int | None, draws: Draws, *, foreground: float
    ) -> tuple[Patch, Patch | None]:
        """A patch; ``foreground`` is not part of this protocol."""
        turns, axis = draws.integer(4), draws.integer(2)
        turned = case.shape if turns % 2 == 0 else (case.shape[1], case.shape[0], case.shape[2])
        shape, pads = padded_shape(turned, self.patch), padding(turned, self.patch)
        if any(self.reach):  # the protocol knows no widened patch: a scan without room lies in the middle
            start = [place(n, p, None, draws) for n, p in zip(turned, self.patch, strict=True)]
        else:
            start = [draws.integer(max(n - p, 1)) for n, p in zip(shape, self.patch, strict=True)]
            start = [first - pad for first, pad in zip(start, pads, strict=True)]
        image, label = case.crop(*unturned_box(turned, start, self.patch, turns, axis))
        turned_label = None if label is None else rotate_flip(label, turns, axis)
        return rotate_flip(image, turns, axis), turned_label

    def extent(self, case: Resident) -> tuple[int, ...]:
        """Voxels of the scan; along the first two axes those of the shorter one, since it may be turned."""
        rows, columns, depth = case.shape
        return min(rows, columns), min(rows, columns), depth


_BACKWARDS = [frozenset[int](), frozenset({-3}), frozenset({-3, -2}), frozenset({-2})]
"""Axes that run backwards after so many quarter turns; after odd ones the two are exchanged before."""


def unturned_box(
    shape: Sequence[int], start: Sequence[int], size: Sequence[int], turns: int, axis: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where a box of the turned scan, of this ``shape``, lies in the scan itself: its start and size."""
    n, first, edge = list(shape), list(start), list(size)
    first[axis] = n[axis] - first[axis] - edge[axis]
    for _ in range(turns):  # back by a quarter: row i, column j came from row j, column (last - i)
        first[:2] = first[1], n[0] - first[0] - edge[0]
        n[:2], edge[:2] = n[1::-1], edge[1::-1]
    return tuple(first), tuple(edge)


def rotate_flip(image: Tensor, turns: int, axis: int) -> Patch:
    """``turns`` quarter turns of (..., X, Y, Z) in the plane of X and Y, then a flip along ``axis`` 0 or 1.

    On a CPU a view: only NumPy has them with negative strides.
    """
    backwards = tuple(_BACKWARDS[turns] ^ {axis - 3})
    turned = image.transpose(-3, -2) if turns % 2 else image
    return np.flip(turned.numpy(), backwards) if image.device.type == "cpu" else turned.flip(backwards)


def padding(shape: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """Zeros added on *both* sides of each axis: none, unless some axis is not larger than the patch."""
    if all(n > p for n, p in zip(shape, patch, strict=True)):
        return (0,) * len(patch)
    return tuple(max((p - n) // 2 + 3, 0) for n, p in zip(shape, patch, strict=True))


def padded_shape(shape: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """Size after :func:`padding`. Starts are drawn in [0, size - patch): the last place is never drawn."""
    return tuple(n + 2 * p for n, p in zip(shape, padding(shape, patch), strict=True))
