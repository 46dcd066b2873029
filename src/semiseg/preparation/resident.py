"""Preprocessed cases where training reads them: on the device when they fit, else on disk, crop by crop."""

from __future__ import annotations

import logging
import math
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.machine.hardware import free_memory_gb
from semiseg.preparation.forward import sample_foreground
from semiseg.preparation.labels import IGNORE

logger = logging.getLogger("semiseg.data")

Patch = Tensor | NDArray[Any]
"""Voxels on their way into a batch, seldom a copy: on a CPU possibly a NumPy view that runs backwards."""

SHARE_OF_MEMORY = 0.5
"""Cases stay resident while they take less than this share of the free memory."""


@dataclass(frozen=True)
class Resident:
    """One preprocessed case: image (C, T0, T1, T2), label (T0, T1, T2) if it has one, see :func:`with_label`.

    ``foreground`` holds (N, 3) sampled positions of foreground voxels, empty for an unlabeled case.
    ``unlabeled`` are the channels (of classes or regions) that its label is not of.
    """

    id: str
    image: Tensor | NDArray[np.float32]
    label: Tensor | NDArray[np.uint8] | NDArray[np.int16] | None
    foreground: NDArray[np.int32]
    device: torch.device
    unlabeled: tuple[int, ...] = ()

    @property
    def on_disk(self) -> bool:
        """Whether crops are read from a file."""
        return isinstance(self.image, np.ndarray)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels per stored axis."""
        _, a, b, c = self.image.shape
        return int(a), int(b), int(c)

    def crop(self, start: Sequence[int], size: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """The box from ``start`` of ``size`` voxels, on the device; zeros (background) outside the scan."""
        image = self._cut(self.image, [0, *start], [self.image.shape[0], *size]).float()
        return image, None if self.label is None else self._cut(self.label, start, size)

    def _cut(self, array: Any, start: Sequence[int], size: Sequence[int]) -> Tensor:
        inside = [
            slice(max(s, 0), max(min(s + n, t), 0)) for s, n, t in zip(start, size, array.shape, strict=True)
        ]
        part = (
            _read(array, tuple(inside)).to(self.device, non_blocking=True)
            if isinstance(array, np.ndarray)
            else array[tuple(inside)]
        )
        if tuple(part.shape) == tuple(size):
            return part
        out = part.new_zeros(tuple(size))
        target = [
            slice(i.start - s, i.start - s + n) for i, s, n in zip(inside, start, part.shape, strict=True)
        ]
        out[tuple(target)] = part
        return out


def make_resident(
    cases: Sequence[Any], device: torch.device, *, memory_gb: float | None = None, processes: int = 1
) -> list[Resident]:
    """Move stored cases to the device if all of them fit; otherwise each crop is read from the files.

    Args:
        cases: stored cases.
        device: of the training.
        memory_gb: what the cases may take; None: half of what is free there.
        processes: that do the same on this device, and share its memory.
    """
    needed = sum(case.image.nbytes + getattr(case, "label", np.empty(0)).nbytes for case in cases) / 2**30
    room = SHARE_OF_MEMORY * _free_gb(device) if memory_gb is None else memory_gb
    fits = needed * processes < room
    if not fits:
        logger.info("%.1f GB of cases, %.1f GB of memory for them: read from disk as needed", needed, room)

    def place(array: NDArray[Any]) -> Any:
        return _read(array, (slice(None),) * array.ndim).to(device) if fits else array

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


def with_label(case: Resident, label: NDArray[Any]) -> Resident:
    """The same scan with classes (T0, T1, T2) to learn from, where its image is; 255 where unknown."""
    place = label if case.on_disk else _read(label, (slice(None),) * label.ndim).to(case.device)
    classes = label if label.dtype == np.uint8 else (label & 255).astype(np.uint8)
    return replace(case, label=place, foreground=sample_foreground(classes))


def without_label(case: Resident) -> Resident:
    """The same scan as an unlabeled case."""
    return replace(case, label=None, foreground=np.zeros((0, 3), np.int32), unlabeled=())


def partly_labeled(
    cases: Sequence[Resident], labeled_classes: Mapping[str, Sequence[str]], channels: Mapping[str, int]
) -> list[Resident]:
    """The cases, with the channels (of classes or regions, by name) that the labels of some are not of."""
    return [
        replace(
            case, unlabeled=tuple(k for name, k in channels.items() if name not in labeled_classes[case.id])
        )
        if case.id in labeled_classes and case.label is not None
        else case
        for case in cases
    ]


def is_hardly_labeled(case: Resident) -> bool:
    """Whether most voxels were never judged, as where every tenth slice has a label, or some classes."""
    if case.label is None or case.unlabeled:
        return bool(case.unlabeled)
    return 2 * int((case.label == IGNORE).sum()) > math.prod(case.shape)


def packed(label: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Classes and stored confidences (255 is 1) in one map, so that both are cut and turned alike.

    What is kept is the doubt, in 127 steps: zeros, as there are outside of a scan, are background for sure.
    """
    return label.astype(np.int16) | ((255 - confidence).astype(np.int16) >> 1 << 8)


def unpacked(both: Tensor) -> tuple[Tensor, Tensor]:
    """Classes uint8 and confidences float32 in [0, 1] of what :func:`packed` made."""
    return (both & 255).to(torch.uint8), 1.0 - (both >> 8).float() / 127


def blank(cases: Sequence[Resident]) -> dict[str, NDArray[np.uint8]]:
    """Case -> background everywhere, at no memory: for passes before there is anything else."""
    return {case.id: np.broadcast_to(np.uint8(0), case.shape) for case in cases}


def _read(array: NDArray[Any], box: tuple[slice, ...]) -> Tensor:
    """A copy of a part of a mapped file, whose pages are given back: memory does not grow with the run."""
    part = torch.from_numpy(np.array(array[box]))
    file = getattr(array, "_mmap", None)
    if isinstance(file, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)  # the kernel may keep them in its cache, and take them when it must
    return part


def _free_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0]) / 2**30
    free = free_memory_gb()
    return 4.0 if free is None else free
