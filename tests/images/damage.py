"""Ways to damage one of factories.make_dataset's folders."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (8, 9, 7)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)


def image(folder: Path, case: str = "case_00", part: str = "imagesTr") -> Path:
    return folder / part / f"{case}_0000.nii.gz"


def label(folder: Path, case: str = "case_00", part: str = "labelsTr") -> Path:
    return folder / part / f"{case}.nii.gz"


def load(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj).copy()


def cut(folder: Path) -> None:
    data = image(folder).read_bytes()
    image(folder).write_bytes(data[: len(data) // 2])


def claim(folder: Path) -> None:
    raw = bytearray(gzip.decompress(image(folder).read_bytes()))
    raw[42:48] = struct.pack("<3h", 32000, 32000, 32000)
    image(folder).write_bytes(gzip.compress(bytes(raw)))


def zero_spacing(folder: Path) -> None:
    raw = bytearray(gzip.decompress(image(folder).read_bytes()))
    raw[76:92] = struct.pack("<4f", 1, 1, 0, 1)
    raw[252:256] = struct.pack("<2h", 0, 0)
    image(folder).write_bytes(gzip.compress(bytes(raw)))


def change(path: Path, index: tuple[int, ...] | slice, value: float) -> None:
    array = load(path).astype(np.float32)
    array[index] = value
    save(path, array)


def shifted(gap: float) -> np.ndarray:
    affine = np.eye(4)
    affine[0, 3] = gap
    return affine


def mixed(folder: Path) -> None:
    image(folder, "un_00", "imagesUn").rename(folder / "imagesUn" / "un_00_0000.nrrd")


def copied(folder: Path) -> None:
    shutil.copy(image(folder), image(folder, "un_00", "imagesUn"))


def number(folder: Path) -> None:
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(content | {"numTraining": 99}))


def same_id(folder: Path) -> None:
    shutil.copy(image(folder), image(folder, "case_00", "imagesTs"))


def listed_twice(folder: Path) -> None:
    (folder / "splits.json").write_text(json.dumps({"order": ["case_00", "case_01"], "val": ["case_00"]}))
