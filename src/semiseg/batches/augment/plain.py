"""Random crops, and nothing else; also where the other augmentations take their crop from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.batches.augment.draws import Draws
from semiseg.batches.augment.intensity import strong
from semiseg.preparation.plan import Plan
from semiseg.preparation.resident import Patch, Resident


class Crop:
    """A patch from a random place, by some chance around a foreground voxel.

    A scan smaller than the patch lies in the middle of zeros, as sliding-window inference has it.
    """

    margin = 0
    mirrored: tuple[int, ...] = ()

    def __init__(self, plan: Plan) -> None:
        self.patch = tuple(plan.patch)
        self.dim = plan.dim
        self.reach = (0,) * plan.dim

    def widened(self, reach: Sequence[int]) -> Self:
        """The same with a patch that has ``reach`` more voxels per axis: room for two crops."""
        wide = copy.copy(self)
        wide.reach = tuple(reach)
        wide.patch = tuple(edge + more for edge, more in zip(self.patch, wide.reach, strict=True))
        return wide

    def starts(self, case: Resident, draws: Draws) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Where two crops begin in a widened patch: within the scan, where that has room for them."""
        rooms = []
        for size, edge, reach in zip(self.extent(case), self.patch, self.reach, strict=True):
            outside = max(edge - size, 0)  # of the widened patch, on both sides together
            low, high = outside // 2, reach - (outside - outside // 2)
            rooms.append((low, high) if low <= high else (reach // 2, reach // 2))
        first, second = (tuple(low + draws.integer(high - low + 1) for low, high in rooms) for _ in range(2))
        return first, second

    def extent(self, case: Resident) -> tuple[int, ...]:
        """Voxels of the scan along each axis of the patch."""
        return case.shape[-self.dim :]

    def cut(
        self, case: Resident, slice_index: int | None, draws: Draws, *, foreground: float
    ) -> tuple[Patch, Patch | None]:
        """A patch with ``margin`` more voxels on each side."""
        patch = (1, *self.patch) if self.dim == 2 else self.patch
        margin = (0, *[self.margin] * 2) if self.dim == 2 else (self.margin,) * 3
        center = None
        if len(case.foreground) and float(draws.uniform(0, 1)) < foreground:
            center = case.foreground[draws.integer(len(case.foreground))]
        start = [
            place(size, edge, None if center is None else int(center[axis]), draws)
            for axis, (size, edge) in enumerate(zip(case.shape, patch, strict=True))
        ]
        if slice_index is not None and center is None:
            start[0] = slice_index
        image, label = case.crop(
            [s - m for s, m in zip(start, margin, strict=True)],
            [p + 2 * m for p, m in zip(patch, margin, strict=True)],
        )
        if self.dim == 2:
            image, label = image[:, 0], None if label is None else label[0]
        return image, label

    def warp(self, images: Tensor, labels: Tensor | None, draws: Draws) -> tuple[Tensor, Tensor | None]:
        """As they are."""
        return images, labels

    def view(self, name: str, images: Tensor, draws: Draws) -> Tensor:
        """``weak`` is the image itself; ``strong``, ``strong2`` change its intensities, each anew."""
        return strong(images, draws) if name.startswith("strong") else images


def place(size: int, edge: int, center: int | None, draws: Draws) -> int:
    """First voxel of a window of ``edge`` voxels along an axis of ``size``.

    Anywhere inside, or as near to ``center`` as the border allows; in the middle where it does not fit.
    """
    if size <= edge:
        return -((edge - size) // 2)
    if center is None:
        return draws.integer(size - edge + 1)
    return min(max(center - edge // 2, 0), size - edge)


def stack(samples: Sequence[tuple[Patch, Patch | None]]) -> tuple[Tensor, Tensor | None]:
    """Samples to a batch; labels only if all samples have one."""
    labels = [label for _, label in samples if label is not None]
    images = gather([image for image, _ in samples])
    return images, gather(labels) if len(labels) == len(samples) else None


def gather(patches: Sequence[Patch]) -> Tensor:
    """Patches of one shape, type and device to a batch: the one copy of what so far are views."""
    elsewhere = [patch for patch in patches if isinstance(patch, Tensor) and patch.device.type != "cpu"]
    if elsewhere:
        return torch.stack(elsewhere)
    arrays = [np.asarray(patch) for patch in patches]
    batch = np.empty((len(arrays), *arrays[0].shape), arrays[0].dtype)
    for place, array in zip(batch, arrays, strict=True):
        copy_rows(place, array)
    return torch.from_numpy(batch)


def copy_rows(target: NDArray[Any], source: NDArray[Any]) -> None:
    """Copy ``source`` row by row, each as one large element: NumPy is slow to begin a row; they are short."""
    if source.strides[-1] == source.itemsize:
        row = np.dtype((np.void, source.shape[-1] * source.itemsize))
        target, source = target.view(row), source.view(row)
    np.copyto(target, source)
