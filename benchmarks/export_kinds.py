"""Kinds of data that benchmarks/export.py exports models of: drawn scans, a dataset, a short run of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import semiseg
from semiseg import images
from semiseg.images.grid import Grid

ITERATIONS = 60
SMALL = {"plan.batch": 2, "plan.features": [8, 16, 32], "train.compile": False}
COUNTS = {"Tr": 6, "Un": 4, "Ts": 4}
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Kind:
    """Drawn scans of one kind.

    Attributes:
        channels: names as in dataset.json; they choose the normalization.
        shape: voxels per axis.
        spacing: mm per axis; each scan has its own, up to 15 % away.
        values: class and noise -> gray values.
    """

    channels: tuple[str, ...]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    values: Callable[[Array, int], Array]
    ending: str = ".nii.gz"
    patch: tuple[int, ...] = (24, 24, 24)


KINDS = {
    "two channels": Kind(
        ("T1", "T2"), (30, 34, 28), (1.1, 1.0, 1.2), lambda x, c: 100 + 80 * x * (1 - 0.6 * c)
    ),
    "anisotropic": Kind(
        ("MRI",), (44, 48, 22), (0.8, 0.8, 4.0), lambda x, c: 300 + 100 * x, patch=(32, 32, 16)
    ),
    "2D RGB": Kind(
        ("R", "G", "B"), (72, 96), (1.0, 1.0), lambda x, c: 70 + (50 - 15 * c) * x, ".png", patch=(64, 64)
    ),
    "CT": Kind(("CT",), (32, 32, 30), (1.0, 1.0, 1.5), lambda x, c: -80 + 90 * x),
}


def draw(kind: Kind, rng: np.random.Generator) -> tuple[Array, Array]:
    """(C, *S) and its label: a ball in a shell (1 in 2) among noise, off the middle."""
    center = np.array(kind.shape) * (0.5 + 0.15 * (rng.random(len(kind.shape)) - 0.5))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in kind.shape], indexing="ij"), -1)
    radius = np.linalg.norm((index - center) / (np.array(kind.shape) / 2), axis=-1)
    radius = radius * (1 + 0.15 * np.sin(3 * np.arctan2(*np.moveaxis(index - center, -1, 0)[:2])))
    label = np.select([radius < 0.3, radius < 0.6], [2, 1], 0).astype(np.uint8)
    noise = rng.standard_normal((len(kind.channels), *kind.shape)) * 0.35
    return np.stack([kind.values(label + noise[c], c) for c in range(len(kind.channels))]), label


def make(name: str, folder: Path) -> Path:
    """The dataset folder of a kind; scans lie the way of one scanner or of another."""
    kind, rng = KINDS[name], np.random.default_rng(list(name.encode()))
    for part, count in COUNTS.items():
        for i in range(count):
            image, label = draw(kind, rng)
            stretch = 0.85 + 0.3 * rng.random(len(kind.shape)) if kind.ending != ".png" else 1.0
            steps = np.array(kind.spacing) * stretch * (1 if i % 2 or kind.ending == ".png" else -1)
            affine = np.diag([*steps, *[1.0] * (4 - len(steps))])
            grid = Grid(kind.shape, affine)
            case = f"{part.lower()}_{i}"
            _write(folder / f"images{part}", case, image, grid, kind)
            if part != "Un":
                images.write(folder / f"labels{part}" / f"{case}{kind.ending}", label, grid)
    names = {"background": 0, "shell": 1, "ball": 2}
    channels = {str(c): channel for c, channel in enumerate(kind.channels)}
    described = {"channel_names": channels, "labels": names, "file_ending": kind.ending, "numTraining": 6}
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def _write(folder: Path, case: str, image: Array, grid: Grid, kind: Kind) -> None:
    if kind.ending == ".png":
        colors = np.moveaxis(np.clip(image, 0, 255).astype(np.uint8), 0, -1)
        images.write(folder / f"{case}_0000.png", colors, grid)
        return
    for c, channel in enumerate(image):
        images.write(folder / f"{case}_{c:04d}{kind.ending}", channel.astype(np.int16), grid)


def prepared(name: str, folder: Path) -> tuple[Path, Path]:
    """Dataset and run of a kind, made where they are not there yet."""
    place = name.replace(" ", "_")
    data, run = folder / f"Dataset001_{place}", folder / f"run_{place}"
    if not (data / "dataset.json").exists():
        make(name, data)
    if not (run / "checkpoints" / "final.ckpt").exists():
        semiseg.train(
            data,
            method="supervised",
            iterations=ITERATIONS,
            settings=SMALL | {"plan.patch": list(KINDS[name].patch)},
            run=run,
            device="cpu",
            workers=0,
            resume=True,
        )
    return data, run
