"""Scaling about the center on a fixed grid, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.parts.transform import Transform, by_group


class Zoom(Transform):
    """A centered box per sample, resized to the whole grid (Li et al. 2021, arXiv:1903.00348).

    A box smaller than the grid enlarges what is inside; one that is larger shrinks it, with the edge repeated
    around it. On the way back the map is resized to the box, and what lies outside a small box is 0: unknown.
    Resizing is bicubic in 2D, as published, and trilinear in 3D, in float32.

    Args:
        sides: of each sample's box, one voxel count per spatial axis, even or odd as the grid's own, so that
            the centers coincide.
    """

    def __init__(self, sides: Sequence[tuple[int, ...]]) -> None:
        self.sides = tuple(sides)

    def apply(self, images: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S) float32."""
        grid = images.shape[2:]
        return by_group(images, self.sides, lambda x, side: _resize(_center(x, side, "replicate"), grid))

    def invert(self, maps: Tensor) -> Tensor:
        """(B, K, *S) -> (B, K, *S) float32, 0 outside of small boxes."""
        grid = maps.shape[2:]
        return by_group(maps, self.sides, lambda x, side: _center(_resize(x, side), grid, "constant"))


def draw_zoom(images: Tensor, amount: float) -> Zoom:
    """A factor for each image (B, C, *S), uniform in [1 - amount, 1 + amount], from torch's CPU generator.

    The box's sides are rounded down to even numbers, as published; to odd ones where the grid's side is odd.
    """
    factors: list[float] = (1 + amount * (2 * torch.rand(len(images)) - 1)).tolist()
    grid = images.shape[2:]
    return Zoom([tuple(side_of(factor, edge) for edge in grid) for factor in factors])


def side_of(factor: float, edge: int) -> int:
    """``factor * edge`` rounded down until it is even or odd as the edge is, at least 1 or 2."""
    side = int(factor * edge)
    return max(side - (edge - side) % 2, 2 - edge % 2)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[2:]) == tuple(size):
        return x.float()
    mode = "bicubic" if x.ndim == 4 else "trilinear"
    return F.interpolate(x.float(), tuple(size), mode=mode, align_corners=False)


def _center(x: Tensor, size: Sequence[int], padding: str) -> Tensor:
    """Cropped or padded about the center, per axis."""
    pads: list[int] = []
    for axis, (now, wanted) in enumerate(zip(x.shape[2:], size, strict=True), start=2):
        x = x.narrow(axis, max(now - wanted, 0) // 2, min(now, wanted))
        pads = [max(wanted - now, 0) // 2] * 2 + pads  # the last axis comes first
    return F.pad(x, pads, mode=padding) if any(pads) else x
