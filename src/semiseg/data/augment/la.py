"""The left-atrium protocol: one of the eight symmetries of the square, then a random crop.

As in the published left-atrium codes (UA-MT, Yu et al. 2019, arXiv:1907.07034): always applied, in the plane
of the first two axes, no change of intensity.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.data.augment.draws import Draws
from semiseg.data.augment.plain import Crop
from semiseg.data.plan import Plan
from semiseg.data.resident import Resident
from semiseg.errors import UsageError


class LeftAtrium(Crop):
    """Quarter turns and a flip of the whole scan (both are views, no copy), then the protocol's crop."""

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
    ) -> tuple[Tensor, Tensor | None]:
        """A patch; ``foreground`` is not part of this protocol."""
        turns, axis = draws.integer(4), draws.integer(2)
        image, label = case.whole()
        image = rotate_flip(image, turns, axis)
        shape = padded_shape(image.shape[1:], self.patch)
        start = [draws.integer(max(n - p, 1)) for n, p in zip(shape, self.patch, strict=True)]
        cut = crop(image, start, self.patch).to(case.device).float()
        if label is None:
            return cut, None
        turned = rotate_flip(label, turns, axis)
        return cut, crop(turned, start, self.patch).to(case.device)


def rotate_flip(image: Tensor, turns: int, axis: int) -> Tensor:
    """``turns`` quarter turns in the plane of the first two spatial axes, then a flip along one of them.

    Args:
        image: (..., X, Y, Z).
        turns: 0 to 3.
        axis: 0 flips X, 1 flips Y.
    """
    return torch.rot90(image, turns, (-3, -2)).flip(axis - 3)


def padding(shape: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """Zeros added on *both* sides of each axis: none, unless some axis is not larger than the patch."""
    if all(n > p for n, p in zip(shape, patch, strict=True)):
        return (0,) * len(patch)
    return tuple(max((p - n) // 2 + 3, 0) for n, p in zip(shape, patch, strict=True))


def padded_shape(shape: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """Size after :func:`padding`. Starts are drawn in [0, size - patch): the last place is never drawn."""
    return tuple(n + 2 * p for n, p in zip(shape, padding(shape, patch), strict=True))


def crop(image: Tensor, start: Sequence[int], patch: Sequence[int]) -> Tensor:
    """The patch at ``start`` of the padded image (..., X, Y, Z)."""
    pads = padding(image.shape[-3:], patch)
    if any(pads):
        image = F.pad(image, [p for pad in reversed(pads) for p in (pad, pad)])
    for axis, (first, edge) in enumerate(zip(start, patch, strict=True)):
        image = image.narrow(axis - 3, first, edge)
    return image.contiguous()


def center_crop(image: Tensor, patch: Sequence[int]) -> Tensor:
    """The middle patch of the padded image (..., X, Y, Z), halves rounded to even as Python does."""
    shape = padded_shape(image.shape[-3:], patch)
    return crop(image, [round((n - p) / 2.0) for n, p in zip(shape, patch, strict=True)], patch)
