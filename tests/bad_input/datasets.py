"""Broken datasets: what ``check`` must find, and how ``train`` must refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from tests.bad_input.ground import SHAPE
from tests.images import damage
from tests.images.damage import change, image, label, load, save


@dataclass(frozen=True)
class Broken:
    """A dataset with one thing wrong.

    Attributes:
        name: of the test.
        spoil: breaks the dataset folder that it is given.
        word: the code that ``check`` must give it.
        says: texts that ``check``'s line must hold.
        train: texts of the error of ``semiseg train``; None where training has no way to see it or no reason
            to mind.
        severity: ``warning`` does not fail.
    """

    name: str
    spoil: Callable[[Path], object]
    word: str
    says: Sequence[str]
    train: Sequence[str] | None = ()
    severity: str = "error"


def describe(folder: Path, **changes: Any) -> None:
    """Change ``dataset.json``; a value of None removes the key."""
    path = folder / "dataset.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def split(folder: Path, text: str) -> None:
    (folder / "splits.json").write_text(text)


def negative_spacing(folder: Path) -> None:
    import gzip
    import struct

    raw = bytearray(gzip.decompress(image(folder).read_bytes()))
    raw[76:92] = struct.pack("<4f", 1, 1, -2, 1)
    raw[252:256] = struct.pack("<2h", 0, 0)
    image(folder).write_bytes(gzip.compress(bytes(raw)))


def brats_values(folder: Path) -> None:
    """0, 1, 2 and 4 in the files, 0 to 3 declared."""
    describe(folder, labels={"background": 0, "a": 1, "b": 2, "c": 3})
    for path in (folder / "labelsTr").iterdir():
        array = load(path)
        array[0, 0, :2] = 4
        save(path, array)


def color_voxels(folder: Path) -> None:
    voxels = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    voxels["R"][::2] = 200
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), image(folder))


def two_channels(folder: Path) -> None:
    describe(folder, channel_names={"0": "T1", "1": "T2"})
    for part in ("imagesTr", "imagesUn", "imagesTs"):
        for path in list((folder / part).iterdir()):
            save(path.with_name(path.name.replace("_0000", "_0001")), load(path) * 2 + 1)


def lost_channel(folder: Path) -> None:
    two_channels(folder)
    (folder / "imagesTr" / "case_00_0001.nii.gz").unlink()


def moved_channel(folder: Path) -> None:
    two_channels(folder)
    path = folder / "imagesTr" / "case_00_0001.nii.gz"
    save(path, load(path), damage.shifted(2.0))


def every_value(folder: Path, value: float) -> None:
    save(image(folder), np.full(SHAPE, value, np.float32))


def half_labels(folder: Path) -> None:
    save(label(folder), load(label(folder)) * np.float32(0.5))


def leave(folder: Path, part: str, count: int) -> None:
    for path in sorted((folder / part).iterdir())[count:]:
        path.unlink()


def one_label(folder: Path) -> None:
    leave(folder, "labelsTr", 1)
    (folder / "splits.json").unlink()
    describe(folder, numTraining=None)


def no_label(folder: Path) -> None:
    leave(folder, "labelsTr", 0)
    (folder / "splits.json").unlink()
    describe(folder, numTraining=None)


def leaked(folder: Path) -> None:
    shutil.copy(image(folder), image(folder, "ts_00", "imagesTs"))


def empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def folder_of_datasets(folder: Path) -> None:
    inner = folder / "Dataset007_Inside"
    inner.mkdir()
    (folder / "dataset.json").rename(inner / "dataset.json")


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("I am a file")


NOT_OPENED = None
"""Test cases are not opened by training, so what is wrong with them is for ``check`` to say."""

FILES = [
    Broken("missing channel", lost_channel, "MISSING_CHANNEL", ["case_00", "0001", "imagesTr"], ["case_00"]),
    Broken("other number of cases", damage.number, "NUM_TRAINING", ["99", "numTraining"], NOT_OPENED),
    Broken("truncated gzip", damage.cut, "TRUNCATED", ["case_00_0000.nii.gz"], ["case_00"]),
    Broken(
        "garbage",
        lambda f: image(f).write_bytes(b"no image" * 99),
        "UNREADABLE",
        ["case_00_0000"],
        ["case_00"],
    ),
    Broken(
        "empty image file", lambda f: image(f).write_bytes(b""), "EMPTY_FILE", ["case_00_0000"], ["case_00"]
    ),
    Broken(
        "empty label file",
        lambda f: label(f).write_bytes(b""),
        "EMPTY_FILE",
        ["labelsTr/case_00"],
        ["case_00"],
    ),
    Broken(
        "lost image",
        lambda f: image(f).unlink(),
        "MISSING_IMAGE",
        ["labelsTr/case_00", "add the image"],
        ["case_00"],
    ),
    Broken("absurd header", damage.claim, "ABSURD_HEADER", ["case_00_0000", "32000"], ["case_00", "32000"]),
    Broken("spacing zero", damage.zero_spacing, "SPACING", ["case_00_0000", "0"], ["case_00"]),
    Broken("spacing negative", negative_spacing, "SPACING", ["case_00_0000", "-2"], ["case_00"]),
    Broken(
        "mixed endings", damage.mixed, "MIXED_ENDINGS", ["un_00_0000.nrrd", ".nii.gz"], ["un_00_0000.nrrd"]
    ),
    Broken(
        "2D among 3D",
        lambda f: save(image(f, "un_00", "imagesUn"), np.random.rand(8, 9)),
        "MIXED_DIMENSIONS",
        ["un_00", "2D"],
        ["un_00", "2D"],
    ),
]
VOXELS = [
    Broken(
        "NaN",
        lambda f: change(image(f), (0, 0, 0), np.nan),
        "NAN",
        ["case_00_0000", "1 NaN"],
        ["case_00", "NaN"],
    ),
    Broken("infinite", lambda f: change(image(f), (0, 0, 0), np.inf), "NAN", ["1 infinite"], ["case_00"]),
    Broken("constant", lambda f: every_value(f, 3), "CONSTANT_IMAGE", ["same value"], ["case_00"]),
    Broken(
        "4D", lambda f: save(image(f), np.random.rand(*SHAPE, 2)), "NOT_3D", ["case_00_0000"], ["case_00"]
    ),
    Broken("RGB", color_voxels, "RGB", ["case_00_0000"], ["case_00"]),
    Broken(
        "channel elsewhere", moved_channel, "AFFINE_MISMATCH", ["case_00_0001", "2 mm"], ["case_00", "2 mm"]
    ),
    Broken(
        "label shape",
        lambda f: save(label(f), load(label(f))[1:]),
        "SHAPE_MISMATCH",
        ["11 x 13 x 11", "12 x 13 x 11"],
        ["case_00"],
    ),
    Broken(
        "label elsewhere",
        lambda f: save(label(f), load(label(f)), damage.shifted(3.0)),
        "AFFINE_MISMATCH",
        ["3 mm", "resample"],
        ["case_00", "3 mm"],
    ),
    Broken(
        "fractional label", half_labels, "NON_INTEGER_LABEL", ["0.5", "nearest neighbor"], ["case_00", "0.5"]
    ),
    Broken(
        "label below 0",
        lambda f: save(label(f), np.where(load(label(f)) > 0, -2, 0).astype(np.int16)),
        "LABEL_VALUES",
        ["-2", "no class is below 0", '"label_map": {"-2": 0}'],
        ["case_00", "-2"],
    ),
    Broken(
        "label 255",
        lambda f: change(label(f), (0, 0, 0), 255),
        "LABEL_VALUES",
        ["255", "0, 1, 2"],
        ["case_00", "255"],
    ),
    Broken("labels 1 2 4", brats_values, "LABEL_VALUES", ['"4": 3', "--fix"], ["4"]),
    Broken(
        "empty label",
        lambda f: save(label(f), np.zeros(SHAPE, np.uint8)),
        "EMPTY_LABEL",
        ["only background"],
        NOT_OPENED,
        "warning",
    ),
    Broken(
        "test label value",
        lambda f: change(label(f, "ts_00", "labelsTs"), (0, 0, 0), 7),
        "LABEL_VALUES",
        ["labelsTs/ts_00", "7"],
        NOT_OPENED,
    ),
    Broken("leak into test", leaked, "DUPLICATE_CONTENT", ["case_00 (labeled)", "ts_00 (test)"], NOT_OPENED),
    Broken(
        "labeled scan unlabeled too",
        damage.copied,
        "DUPLICATE_CONTENT",
        ["case_00 (labeled)", "un_00 (unlabeled)"],
        ["case_00", "un_00"],
    ),
]
