"""The scans: a few of a real data set where it is there, else generated ones, as a folder and as h5 files."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from benchmarks.speed.setting import Setting

LEFT_ATRIUM, ACDC = "Dataset101_LeftAtrium", "Dataset102_ACDC"
COUNT = 8
"""Training scans; the first half are the labeled ones."""


def folder(setting: Setting, name: str) -> Path:
    """A data set of :data:`COUNT` training scans: links to real ones, or made up."""
    root = setting.work / name
    if not (root / "dataset.json").is_file():
        for part in ("imagesTr", "labelsTr"):
            (root / part).mkdir(parents=True, exist_ok=True)
        source = setting.data / name if setting.data else None
        if source is not None and source.is_dir() and not setting.quick:
            _link(source, root)
        else:
            _make(root, name, quick=setting.quick)
    return root


def cases(setting: Setting, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Image (float32) and label (uint8) of each scan of :func:`folder`."""
    root = folder(setting, name)
    ids = json.loads((root / "splits.json").read_text(encoding="utf-8"))["order"]
    found = []
    for case in ids:
        image = nib.load(root / "imagesTr" / f"{case}_0000.nii.gz").get_fdata(dtype=np.float32)
        label = np.asarray(nib.load(root / "labelsTr" / f"{case}.nii.gz").dataobj).astype(np.uint8)
        found.append((image, label))
    return found


def h5_files(setting: Setting, name: str, *, slices: bool = False) -> list[Path]:
    """The same scans, or their slices along the last axis, one h5 file each."""
    from benchmarks.speed.plain import loader

    root = setting.work / f"{name}_h5"
    if not root.is_dir():
        root.mkdir(parents=True)
        for n, (image, label) in enumerate(cases(setting, name)):
            parts = [(image, label)]
            if slices:
                parts = [(image[..., z], label[..., z]) for z in range(image.shape[-1])]
            for z, (i, y) in enumerate(parts):
                loader.write(root / f"{n:02d}_{z:02d}.h5", i, y)
    return sorted(root.glob("*.h5"))


def labeled_files(files: list[Path]) -> int:
    """How many of the files belong to labeled scans; they come first."""
    return sum(int(path.name[:2]) < COUNT // 2 for path in files)


def _link(source: Path, root: Path) -> None:
    content = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    order = json.loads((source / "splits.json").read_text(encoding="utf-8"))["order"][:COUNT]
    for case in order:
        for place in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz"):
            (root / place).symlink_to((source / place).resolve())
    _describe(root, content["labels"], order)


def _make(root: Path, name: str, *, quick: bool) -> None:
    rng = np.random.default_rng(0)
    shape = (200, 200, 12) if name == ACDC else (190, 142, 88)
    shape = tuple(n // 4 + 8 for n in shape) if quick else shape
    classes = 4 if name == ACDC else 2
    order = [f"case_{n:02d}" for n in range(COUNT)]
    for case in order:
        image, label = lumpy(rng, shape, classes)
        nib.save(nib.Nifti1Image(image, np.eye(4)), root / "imagesTr" / f"{case}_0000.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), root / "labelsTr" / f"{case}.nii.gz")
    labels = {"background": 0} | {f"part {k}": k for k in range(1, classes)}
    _describe(root, labels, order)


def _describe(root: Path, labels: dict[str, int], order: list[str]) -> None:
    content = {
        "channel_names": {"0": "noNorm"},
        "labels": labels,
        "numTraining": len(order),
        "file_ending": ".nii.gz",
    }
    (root / "splits.json").write_text(json.dumps({"order": order}) + "\n", encoding="utf-8")
    (root / "dataset.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


def lumpy(
    rng: np.random.Generator, shape: tuple[int, ...], classes: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """A body with waves on its surface, and smaller ones of the other classes inside; noise around it."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    radius = np.sqrt(sum((axis / 0.6) ** 2 for axis in axes))
    waves = sum(np.sin(rng.uniform(3, 9) * axis + rng.uniform(0, 6)).astype(np.float32) for axis in axes)
    label = np.zeros(shape, np.uint8)
    for k in range(1, classes):
        label[radius + 0.06 * waves < 1 - 0.25 * (k - 1)] = k
    image = (label + 0.5 * rng.standard_normal(shape)).astype(np.float32)
    return image, label
