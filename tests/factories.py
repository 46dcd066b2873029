"""Tiny datasets for tests: a bright ball (class 1) with a shell (class 2, ...) in noise, as NIfTI on disk."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np


def blob(
    shape: tuple[int, ...], classes: int, channels: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An image (C, *S) float32 and its label (*S) uint8 with ``classes`` values, background included."""
    center = np.array(shape) * (0.5 + 0.1 * (rng.random(len(shape)) - 0.5))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    radius = np.linalg.norm((index - center) / (np.array(shape) / 2), axis=-1)
    edges = np.linspace(0.25, 0.75, classes - 1)[::-1]
    label = np.zeros(shape, np.uint8)
    for k, edge in enumerate(edges, start=1):
        label[radius < edge] = k
    image = np.stack([label * (1.0 + c) + 0.3 * rng.standard_normal(shape) for c in range(channels)])
    return image.astype(np.float32), label


def make_dataset(
    root: Path,
    *,
    labeled: int = 3,
    unlabeled: int = 4,
    test: int = 2,
    shape: tuple[int, ...] = (20, 22, 18),
    classes: int = 2,
    channels: int = 1,
    spacing: tuple[float, ...] | None = None,
    seed: int = 0,
    name: str = "Dataset001_Tiny",
    order: bool = True,
) -> Path:
    """Write a dataset folder and return it. Training cases are case_00.., unlabeled un_00.., test ts_00..."""
    rng = np.random.default_rng(seed)
    folder = root / name
    affine = np.diag([*(spacing or (1.0,) * len(shape)), *([1.0] * (4 - len(shape)))])
    for part in ("imagesTr", "labelsTr", "imagesUn", "imagesTs", "labelsTs"):
        (folder / part).mkdir(parents=True, exist_ok=True)

    def write(case: str, images: str, labels: str | None) -> None:
        image, label = blob(shape, classes, channels, rng)
        for c, channel in enumerate(image):
            nib.save(nib.Nifti1Image(channel, affine), folder / images / f"{case}_{c:04d}.nii.gz")
        if labels:
            nib.save(nib.Nifti1Image(label, affine), folder / labels / f"{case}.nii.gz")

    for i in range(labeled):
        write(f"case_{i:02d}", "imagesTr", "labelsTr")
    for i in range(unlabeled):
        write(f"un_{i:02d}", "imagesUn", None)
    for i in range(test):
        write(f"ts_{i:02d}", "imagesTs", "labelsTs")
    names = ["background", *(f"structure {k}" for k in range(1, classes))]
    (folder / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {str(c): "MRI" for c in range(channels)},
                "labels": {name: k for k, name in enumerate(names)},
                "numTraining": labeled,
                "file_ending": ".nii.gz",
            }
        )
    )
    if order:
        (folder / "splits.json").write_text(json.dumps({"order": [f"case_{i:02d}" for i in range(labeled)]}))
    return folder
