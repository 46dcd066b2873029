"""Changes of geometry, drawn per sample, that can be undone: quarter turns, flips, scaling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from itertools import permutations, product
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
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
    """``move(samples, key)`` once for all samples (n, ...) of x that share a key; their order stays."""
    groups: dict[Key, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    order = [i for members in groups.values() for i in members]
    together = order == list(range(len(x)))  # then nothing has to be moved to stand by its like
    parts = torch.split(x if together else x[order], [len(members) for members in groups.values()])
    moved = torch.cat([move(part, key) for part, key in zip(parts, groups, strict=True)])
    return moved if together else moved[[order.index(i) for i in range(len(x))]]


class Symmetry(NamedTuple):
    """The spatial axes in another order, and then some of them reversed; every turn and flip is one."""

    order: tuple[int, ...]
    """The axis that comes to each place."""
    reverse: tuple[bool, ...]
    """By the new places."""

    def apply(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S in the new order)."""
        return x.permute(0, 1, *[axis + 2 for axis in self.order]).flip(self._reversed)

    def invert(self, x: Tensor) -> Tensor:
        """The exact inverse of :meth:`apply`."""
        back = [self.order.index(place) + 2 for place in range(len(self.order))]
        return x.flip(self._reversed).permute(0, 1, *back)

    def then(self, following: Symmetry) -> Symmetry:
        """One symmetry that does what this one and then the other do."""
        reverse = zip(following.order, following.reverse, strict=True)
        return Symmetry(
            tuple(self.order[axis] for axis in following.order),
            tuple(self.reverse[axis] != again for axis, again in reverse),
        )

    @property
    def _reversed(self) -> list[int]:
        return [place + 2 for place, reversed_ in enumerate(self.reverse) if reversed_]


def flip(dim: int, axis: int) -> Symmetry:
    """One spatial axis reversed."""
    return Symmetry(tuple(range(dim)), tuple(a == axis for a in range(dim)))


def turns(dim: int, times: int, plane: tuple[int, int] = (0, 1)) -> Symmetry:
    """Quarter turns from the first axis of the plane toward the second, as ``torch.rot90`` counts them."""
    first, second = plane
    swapped = {first: second, second: first}
    quarter = Symmetry(
        tuple(swapped.get(axis, axis) for axis in range(dim)), tuple(axis == first for axis in range(dim))
    )
    turned = Symmetry(tuple(range(dim)), (False,) * dim)
    for _ in range(times % 4):
        turned = turned.then(quarter)
    return turned


class Symmetries(Transform):
    """One symmetry per sample; voxels change places and nothing else, so that the inverse is exact."""

    def __init__(self, symmetries: Sequence[Symmetry]) -> None:
        self.symmetries = tuple(symmetries)

    def apply(self, images: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C, *S)."""
        return by_group(images, self.symmetries, lambda x, symmetry: symmetry.apply(x))

    def invert(self, maps: Tensor) -> Tensor:
        """(B, K, *S) -> (B, K, *S)."""
        return by_group(maps, self.symmetries, lambda x, symmetry: symmetry.invert(x))


@lru_cache
def symmetries_of(shape: tuple[int, ...]) -> tuple[Symmetry, ...]:
    """All symmetries that keep the shape: 8 of a square, 4 of a rectangle, 48 of a cube.

    Planes with two equal sides have quarter turns, the others half turns (two flips).
    """
    axes = range(len(shape))
    orders = [order for order in permutations(axes) if all(shape[order[a]] == shape[a] for a in axes)]
    return tuple(
        Symmetry(order, reverse)
        for order, reverse in product(orders, product((False, True), repeat=len(shape)))
    )


def draw_symmetries(images: Tensor) -> Symmetries:
    """One symmetry of the grid for each image (B, C, *S), all equally likely, from torch's CPU generator."""
    choices = symmetries_of(tuple(images.shape[2:]))
    drawn: list[int] = torch.randint(len(choices), (len(images),)).tolist()
    return Symmetries([choices[i] for i in drawn])


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
