"""Preprocessed cases where training reads them: on the device when they fit, else memory-mapped."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.machine import free_memory_gb

logger = logging.getLogger("semiseg.data")

SHARE_OF_MEMORY = 0.5
"""Cases stay resident while they take less than this share of the free memory."""


@dataclass(frozen=True)
class Resident:
    """One preprocessed case: image (C, T0, T1, T2), label (T0, T1, T2) uint8 if it has one.

    ``foreground`` holds (N, 3) sampled positions of foreground voxels, empty for an unlabeled case.
    """

    id: str
    image: Tensor | NDArray[np.float32]
    label: Tensor | NDArray[np.uint8] | None
    foreground: NDArray[np.int32]
    device: torch.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels per stored axis."""
        _, a, b, c = self.image.shape
        return int(a), int(b), int(c)

    def crop(self, start: Sequence[int], size: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """The box from ``start`` of ``size`` voxels, on the device; zeros (background) outside the scan."""
        image = self._cut(self.image, [0, *start], [self.image.shape[0], *size]).float()
        return image, None if self.label is None else self._cut(self.label, start, size)

    def whole(self) -> tuple[Tensor, Tensor | None]:
        """The case as tensors to read from, without a copy: resident, or mapped from its file."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            image = torch.as_tensor(self.image)
            return image, None if self.label is None else torch.as_tensor(self.label)

    def _cut(self, array: Any, start: Sequence[int], size: Sequence[int]) -> Tensor:
        inside = [
            slice(max(s, 0), max(min(s + n, t), 0)) for s, n, t in zip(start, size, array.shape, strict=True)
        ]
        part = (
            torch.from_numpy(np.array(array[tuple(inside)]))  # a copy: the file is mapped read-only
            if isinstance(array, np.ndarray)
            else array[tuple(inside)]
        )
        part = part.to(self.device)
        if tuple(part.shape) == tuple(size):
            return part
        out = part.new_zeros(tuple(size))
        target = [
            slice(i.start - s, i.start - s + n) for i, s, n in zip(inside, start, part.shape, strict=True)
        ]
        out[tuple(target)] = part
        return out


def make_resident(cases: Sequence[Any], device: torch.device) -> list[Resident]:
    """Move stored cases to the device if all of them fit in half of its free memory."""
    needed = sum(case.image.nbytes + getattr(case, "label", np.empty(0)).nbytes for case in cases)
    fits = needed < SHARE_OF_MEMORY * _free_bytes(device)
    if not fits:
        logger.info("%.1f GB of cases stay memory-mapped: they do not fit on %s", needed / 1e9, device)

    def place(array: NDArray[Any]) -> Any:
        return torch.from_numpy(np.array(array)).to(device) if fits else array

    return [
        Resident(
            case.id,
            place(case.image),
            place(case.label) if hasattr(case, "label") else None,
            np.asarray(getattr(case, "foreground", np.zeros((0, 3))), np.int32),
            device,
        )
        for case in cases
    ]


def _free_bytes(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = free_memory_gb()
    return 4e9 if free is None else free * 2**30
