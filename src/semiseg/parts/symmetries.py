"""Quarter turns and flips: the symmetries of a grid, undone exactly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import permutations, product
from typing import NamedTuple

import torch
from torch import Tensor

from semiseg.parts.transform import Transform, by_group


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
