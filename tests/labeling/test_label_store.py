"""Labels are saved whole or not at all, checked before; former versions and foreign changes are kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.factories import make_dataset

import semiseg
from semiseg import images
from semiseg.dataset.case import case_header
from semiseg.dataset.ledger import read_entries
from semiseg.errors import SemisegError
from semiseg.images.grid import Grid, Volume
from semiseg.labeling import store as store_module
from semiseg.labeling.store import Labels, Origin

DRAWN = Origin("drawn", by="anna")


def ball(labels: Labels, name: str, value: int = 1, size: int = 3) -> Volume:
    grid = case_header(labels.cases[name]).grid
    array = np.zeros(grid.shape, np.uint8)
    array[tuple(slice(n // 2 - size, n // 2 + size) for n in grid.shape)] = value
    return Volume(array, grid)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_dataset(tmp_path, labeled=2, unlabeled=2, test=1, shape=(12, 13, 14), channels=2)


def test_a_label_of_an_unlabeled_scan_makes_it_a_training_case(folder: Path) -> None:
    labels = Labels(folder)
    saved = labels.save("un_00", ball(labels, "un_00"), base=0, origin=DRAWN)
    assert (saved.version, labels.version("un_00")) == (1, 1)
    dataset = semiseg.Dataset.open(folder)
    assert [case.id for case in dataset.split().labeled] == ["case_00", "case_01", "un_00"]
    assert sorted(p.name for p in (folder / "imagesUn").iterdir()) == [
        "un_01_0000.nii.gz",
        "un_01_0001.nii.gz",
    ]
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 3
    assert semiseg.check(folder, workers=1).ok
    written = nib.load(folder / "labelsTr" / "un_00.nii.gz").get_fdata()
    assert np.array_equal(written, ball(labels, "un_00").array)
    (entry,) = read_entries(folder / "labels.jsonl")
    assert (entry.case, entry.source, entry.by, entry.since) == ("un_00", "drawn", "anna", 0)


def test_the_former_version_is_kept_and_an_outdated_one_refused(folder: Path) -> None:
    labels = Labels(folder)
    before = images.read_label(folder / "labelsTr" / "case_00.nii.gz").array
    assert labels.version("case_00") == 1
    labels.save("case_00", ball(labels, "case_00", size=2), base=1, origin=DRAWN)
    kept = labels.file("case_00", 1)
    assert kept is not None
    assert np.array_equal(images.read_label(kept).array, before)
    with pytest.raises(SemisegError, match="version 1 was drawn on, but version 2") as raised:
        labels.save("case_00", ball(labels, "case_00", size=4), base=1, origin=Origin("drawn", by="bob"))
    assert raised.value.code == "OUTDATED_VERSION"
    mine = labels.file("case_00", raised.value.details["kept"])
    assert mine is not None
    assert images.read_label(mine).array.sum() == 8**3
    assert images.read_label(folder / "labelsTr" / "case_00.nii.gz").array.sum() == 4**3
    assert labels.version("case_00") == 2
    assert labels.save("case_00", ball(labels, "case_00", size=4), base=2, origin=DRAWN).version == 4


def test_what_check_would_refuse_is_not_written(folder: Path) -> None:
    labels = Labels(folder)
    right = ball(labels, "un_00")
    grid = right.grid
    half = Grid(tuple(n // 2 for n in grid.shape), grid.affine)
    shifted = grid.affine.copy()
    shifted[0, 3] += 2
    wrong = {
        "LABEL_VALUES": Volume(right.array * 7, grid),
        "whole numbers": Volume(right.array * 0.5, grid),
        "voxels of": Volume(np.zeros(half.shape, np.uint8), half),
        "-1 to": Volume(right.array.astype(np.int16) * -1, grid),
        "mm": Volume(right.array, Grid(grid.shape, shifted)),
    }
    for word, volume in wrong.items():
        with pytest.raises(SemisegError) as raised:
            labels.save("un_00", volume, base=0, origin=DRAWN)
        assert raised.value.code == "BAD_LABEL"
        assert word in str(raised.value.as_dict()), word
    assert labels.version("un_00") == 0
    assert not (folder / "labels.jsonl").exists()
    assert not list((folder / "studio").rglob("*.nii.gz"))
    saved = labels.save("un_00", Volume(right.array * 0, grid), base=0, origin=DRAWN)
    assert "only background" in saved.warnings[0]


def test_a_test_case_and_a_stranger_are_refused(folder: Path) -> None:
    labels = Labels(folder)
    for name, code in (("ts_00", "TEST_CASE"), ("../un_00", "UNKNOWN_CASE")):
        with pytest.raises(SemisegError) as raised:
            labels.save(name, ball(labels, "un_00"), base=0, origin=DRAWN)
        assert raised.value.code == code


def test_a_label_whose_axes_are_turned_is_turned_back(folder: Path) -> None:
    labels = Labels(folder)
    grid = case_header(labels.cases["un_00"]).grid
    array = np.zeros(grid.shape, np.uint8)
    array[1, 2, 3] = 1
    affine = grid.affine @ np.diag([-1.0, 1, 1, 1])
    affine[:3, 3] = (grid.affine @ np.array([grid.shape[0] - 1, 0, 0, 1]))[:3]
    labels.save("un_00", Volume(array[::-1], Grid(grid.shape, affine)), base=0, origin=DRAWN)
    assert np.argwhere(images.read_label(folder / "labelsTr" / "un_00.nii.gz").array).tolist() == [[1, 2, 3]]


def test_what_a_killed_save_half_wrote_goes_with_the_next_start(folder: Path) -> None:
    labels = Labels(folder)
    labels.save("un_00", ball(labels, "un_00"), base=0, origin=DRAWN)
    left = folder / "studio" / "labels" / "un_00" / f".{'0a' * 8}.tmp.gz"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    Labels(folder)
    assert not left.exists()


STEPS = ("candidate kept", "listed in the ledger", "images moved")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", ["un_00", "case_00"])
def test_a_kill_in_the_middle_of_a_save_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str, name: str
) -> None:
    labels = Labels(folder)
    base = labels.version(name)
    new = ball(labels, name, size=2)

    class Kill(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Kill

    if step == STEPS[0]:
        monkeypatch.setattr(store_module.Ledger, "append", kill)
    elif step == STEPS[1]:
        monkeypatch.setattr(store_module.lists, "move_to_training", kill)
    else:
        monkeypatch.setattr(store_module.lists, "add", kill)
    with pytest.raises(Kill):
        labels.save(name, new, base=base, origin=DRAWN)
    assert not list((folder / "studio" / "labels").glob(".*"))
    monkeypatch.undo()
    again = Labels(folder)
    happened = step != STEPS[0]
    assert again.version(name) == base + happened
    if happened:
        assert np.array_equal(images.read_label(folder / "labelsTr" / f"{name}.nii.gz").array, new.array)
    assert semiseg.check(folder, workers=1).ok
    assert again.save(name, ball(again, name), base=again.version(name), origin=DRAWN).version > base


def test_a_change_by_another_program_is_a_version_of_its_own(folder: Path) -> None:
    labels = Labels(folder)
    labels.save("case_00", ball(labels, "case_00"), base=1, origin=DRAWN)
    file = folder / "labelsTr" / "case_00.nii.gz"
    images.write(file, ball(labels, "case_00", size=1).array, case_header(labels.cases["case_00"]).grid)
    again = Labels(folder)
    assert again.version("case_00") == 3
    assert again.ledger.history("case_00")[-1].source == "outside"
    with pytest.raises(SemisegError, match="version 3 is there now"):
        again.save("case_00", ball(again, "case_00"), base=2, origin=DRAWN)


def test_a_rejected_scan_is_out_of_use_and_comes_back_with_its_label(folder: Path) -> None:
    labels = Labels(folder)
    label = images.read_label(folder / "labelsTr" / "case_01.nii.gz").array
    labels.reject("case_01", "motion", "anna")
    labels.reject("un_01", "wrong organ")
    assert labels.ledger.bad == {"case_01", "un_01"}
    assert [case.id for case in semiseg.Dataset.open(folder).split(labeled=1).labeled] == ["case_00"]
    labels.restore("case_01")
    assert labels.ledger.bad == {"un_01"}
    assert np.array_equal(images.read_label(folder / "labelsTr" / "case_01.nii.gz").array, label)
    assert semiseg.check(folder, workers=1).ok


def test_pictures_get_labels_with_their_spacing(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset002_Pictures"
    grid = Grid((10, 12), np.diag([0.5, 0.5, 1.0, 1.0]))
    noise = np.random.default_rng(0).integers(0, 255, (2, 10, 12), dtype=np.uint8)
    for name, image in zip(("a", "b"), noise, strict=True):
        images.write(folder / "imagesTr" / f"{name}_0000.png", image, grid)
    label = (noise[0] > 100).astype(np.uint8)
    images.write(folder / "labelsTr" / "a.png", label, grid)
    content = {"channel_names": {"0": "photo"}, "labels": {"background": 0, "cell": 1}, "file_ending": ".png"}
    (folder / "dataset.json").write_text(json.dumps(content))
    labels = Labels(folder)
    labels.save("b", Volume(label, grid), base=0, origin=DRAWN)
    labels.save("b", Volume(1 - label, grid), base=1, origin=DRAWN)
    found = images.read_label(folder / "labelsTr" / "b.png")
    assert found.grid.matches(grid)
    assert np.array_equal(found.array, 1 - label)
    assert Labels(folder).version("b") == 2
