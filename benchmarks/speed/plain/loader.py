"""Loading in the style of the published data sets: one gzip-compressed h5 file opened for each sample.

The whole scan is decoded and transformed in NumPy, and then a patch is cut from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

Sample = dict[str, np.ndarray]


def write(path: Path, image: np.ndarray, label: np.ndarray) -> None:
    """One file as the published archives have them: gzip, h5py's own choice of chunks."""
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=image.astype(np.float32), compression="gzip")
        file.create_dataset("label", data=label.astype(np.uint8), compression="gzip")


class Scans(Dataset[dict[str, Tensor]]):
    """Samples from files, through one transform after another."""

    def __init__(self, files: Sequence[Path], transforms: Sequence[Callable[[Sample], Sample]]) -> None:
        self.files, self.transforms = files, transforms

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        with h5py.File(self.files[i], "r") as file:
            sample = {"image": file["image"][:], "label": file["label"][:]}
        for transform in self.transforms:
            sample = transform(sample)
        image = torch.from_numpy(sample["image"].astype(np.float32)[None])
        return {"image": image, "label": torch.from_numpy(sample["label"]).long()}


def rotate_flip(sample: Sample) -> Sample:
    """Quarter turns in the first two axes, then a flip along one of them."""
    turns, axis = np.random.randint(0, 4), np.random.randint(0, 2)
    return {name: np.flip(np.rot90(array, turns), axis=axis).copy() for name, array in sample.items()}


class RandomCrop:
    """A patch from anywhere; zeros around a scan that is too small."""

    def __init__(self, size: tuple[int, ...]) -> None:
        self.size = size

    def __call__(self, sample: Sample) -> Sample:
        shape = sample["label"].shape
        if any(n <= p for n, p in zip(shape, self.size, strict=True)):
            pads = [(max((p - n) // 2 + 3, 0),) * 2 for n, p in zip(shape, self.size, strict=True)]
            sample = {name: np.pad(array, pads, mode="constant") for name, array in sample.items()}
            shape = sample["label"].shape
        first = [np.random.randint(0, n - p) for n, p in zip(shape, self.size, strict=True)]
        box = tuple(slice(f, f + p) for f, p in zip(first, self.size, strict=True))
        return {name: array[box] for name, array in sample.items()}


class RandomSlice:
    """A slice turned and flipped, or rotated by up to 20 degrees, then zoomed to the network's size."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def __call__(self, sample: Sample) -> Sample:
        if np.random.random() > 0.5:
            sample = rotate_flip(sample)
        else:
            angle = np.random.randint(-20, 20)
            sample = {
                name: ndimage.rotate(array, angle, order=0, reshape=False) for name, array in sample.items()
            }
        rows, columns = sample["image"].shape
        factors = (self.size[0] / rows, self.size[1] / columns)
        return {name: ndimage.zoom(array, factors, order=0) for name, array in sample.items()}


def batch(scans: Scans, chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Images (B, 1, *S) and labels (B, *S) int64 of these files."""
    samples = [scans[i] for i in chosen]
    return torch.stack([s["image"] for s in samples]), torch.stack([s["label"] for s in samples])
