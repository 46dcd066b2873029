"""``check`` finds every planted problem and names the file and the fix."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.factories import make_dataset
from tests.images.damage import (
    SHAPE,
    change,
    claim,
    copied,
    cut,
    image,
    label,
    listed_twice,
    load,
    mixed,
    number,
    same_id,
    save,
    shifted,
    zero_spacing,
)

from semiseg.dataset.check import check
from semiseg.images import write
from semiseg.images.grid import Grid


def odd_test_value(folder: Path) -> None:
    change(label(folder, "ts_00", "labelsTs"), (0, 0, 0), 7)


def scaled(folder: Path) -> None:
    stored = nib.Nifti1Image(load(label(folder)).astype(np.float64), np.eye(4))
    stored.header.set_data_dtype(np.uint8)  # squeezed into 0..255 by nibabel
    nib.save(stored, label(folder))


def other_format(folder: Path) -> None:
    voxels = load(image(folder))
    write(folder / "a.nrrd", voxels, Grid(voxels.shape, np.eye(4)))
    (folder / "a.nrrd").rename(image(folder))


def two_forms(folder: Path) -> None:
    stored = nib.Nifti1Image(load(image(folder)), np.eye(4))
    stored.set_qform(np.diag([-1.0, 1, 1, 1]), 1)
    nib.save(stored, image(folder))


def other_channel(folder: Path) -> None:
    image(folder).rename(folder / "imagesTr" / "case_00_0001.nii.gz")


def loose(folder: Path) -> None:
    shutil.copy(image(folder), folder / "imagesTr" / "a.nii.gz")


def same_mask(folder: Path, other: Path) -> None:
    """One anatomy in two scans, the second shifted as another crop would be."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[:-1, 1:, 1:] = np.random.default_rng(0).random([n - 1 for n in SHAPE]) < 0.8
    save(label(folder), mask)
    save(other, np.roll(mask, 1, 0))


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
LOGIN = "\n<!DOCTYPE html>\n<html><title>Sign in</title>" + 99 * "<p>"


def to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to(".git/annex/objects/x")


PLANTED: list[tuple[str, str, str, Callable[[Path], object]]] = [
    ("TRUNCATED", "error", "case_00_0000.nii.gz", cut),
    ("UNREADABLE", "error", "case_00_0000.nii.gz", lambda f: image(f).write_bytes(b"no image" * 99)),
    ("EMPTY_FILE", "error", "case_00.nii.gz", lambda f: label(f).write_bytes(b"")),
    ("ABSURD_HEADER", "error", "case_00_0000.nii.gz", claim),
    ("SPACING", "error", "case_00_0000.nii.gz", zero_spacing),
    ("NAN", "error", "case_00_0000.nii.gz", lambda f: change(image(f), (0, 0, 0), np.nan)),
    ("NAN", "error", "case_00_0000.nii.gz", lambda f: change(image(f), (0, 0, 0), np.inf)),
    ("CONSTANT_IMAGE", "error", "case_00_0000", lambda f: save(image(f), np.full(SHAPE, 3, np.int16))),
    ("SHAPE_MISMATCH", "error", "labelsTr/case_00", lambda f: save(label(f), load(label(f))[1:])),
    ("AFFINE_MISMATCH", "error", "labelsTr/case_00", lambda f: save(label(f), load(label(f)), shifted(0.1))),
    (
        "AFFINE_ROUNDED",
        "warning",
        "labelsTr/case_00",
        lambda f: save(label(f), load(label(f)), shifted(0.01)),
    ),
    ("SCALED_LABEL", "warning", "labelsTr/case_00", scaled),
    ("WRONG_ENDING", "warning", "case_00_0000.nii.gz", other_format),
    ("TWO_FORMS", "warning", "case_00_0000.nii.gz", two_forms),
    ("NON_INTEGER_LABEL", "error", "labelsTr/case_00", lambda f: change(label(f), (0, 0, 0), 0.4)),
    ("NON_INTEGER_LABEL", "error", "labelsTr/case", lambda f: change(label(f), (0, 0, 0), np.nan)),
    ("NON_INTEGER_LABEL", "error", "labelsTr/case", lambda f: change(label(f), (0, 0, 0), np.inf)),
    ("LABEL_VALUES", "error", "labelsTr/case_00", lambda f: change(label(f), (0, 0, 0), 7)),
    (
        "LABEL_VALUES",
        "error",
        "labelsTs/ts_00",
        odd_test_value,
    ),
    ("INVERTED_LABEL", "warning", "", lambda f: save(label(f), 1 - load(label(f)))),
    ("MISSING_FILE", "error", "imagesTr/case_00_0000", lambda f: to_nothing(image(f))),
    ("MISSING_FILE", "error", "imagesTr/case_00_0000", lambda f: image(f).write_text(LFS)),
    ("MISSING_FILE", "error", "imagesTr/case_00_0000", lambda f: image(f).write_text(LOGIN)),
    ("EMPTY_LABEL", "warning", "labelsTr/case_00", lambda f: save(label(f), np.zeros(SHAPE, np.uint8))),
    ("NOT_3D", "error", "case_00_0000.nii.gz", lambda f: save(image(f), np.random.rand(*SHAPE, 2))),
    ("MIXED_DIMENSIONS", "error", "", lambda f: save(image(f, "un_00", "imagesUn"), np.random.rand(8, 9))),
    ("MIXED_ENDINGS", "error", "un_00_0000.nrrd", mixed),
    (
        "MISSING_CHANNEL",
        "error",
        "case_00",
        other_channel,
    ),
    ("MISSING_IMAGE", "error", "labelsTr/case_00", lambda f: image(f).unlink()),
    ("EXTRA_FILE", "warning", "imagesTr/notes.txt", lambda f: (f / "imagesTr" / "notes.txt").write_text("x")),
    (
        "EXTRA_FILE",
        "error",
        "imagesTr/a.nii.gz",
        loose,
    ),
    ("DUPLICATE_CONTENT", "error", "", copied),
    ("DUPLICATE_MASK", "warning", "", lambda f: same_mask(f, label(f, "case_01"))),
    ("DUPLICATE_MASK", "error", "", lambda f: same_mask(f, label(f, "ts_00", "labelsTs"))),
    ("CASE_IN_TWO_LISTS", "error", "", same_id),
    ("CASE_IN_TWO_LISTS", "error", "", listed_twice),
    ("NUM_TRAINING", "error", "dataset.json", number),
    ("DATASET_JSON", "error", "dataset.json", lambda f: (f / "dataset.json").write_text("{")),
    ("DATASET_JSON", "error", "dataset.json", lambda f: (f / "dataset.json").unlink()),
    ("SPLITS", "error", "splits.json", lambda f: (f / "splits.json").write_text("{")),
    ("UNKNOWN_CASE", "error", "", lambda f: (f / "splits.json").write_text('{"order": ["nobody"]}')),
]


@pytest.mark.parametrize(("code", "severity", "file", "plant"), PLANTED)
def test_planted_problems(
    tmp_path: Path, code: str, severity: str, file: str, plant: Callable[[Path], object]
) -> None:
    folder = make_dataset(tmp_path, labeled=3, unlabeled=2, test=1, shape=SHAPE)
    plant(folder)
    report = check(folder, workers=1)
    found = [p for p in report.problems if p.code == code]
    assert found, report.as_text()
    assert found[0].severity == severity
    assert file in found[0].file
    assert found[0].fix
    assert report.ok == (severity == "warning")
