"""Folders and files on disk: pairing, label values, grids, and cases that cannot be compared."""

from __future__ import annotations

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from tests.factories import blob, make_dataset

from semiseg.errors import DataError, UsageError
from semiseg.evaluation.case import evaluate
from semiseg.evaluation.evaluate import evaluate_folders
from semiseg.evaluation.tables import rich_table, write
from semiseg.images.grid import Grid

AFFINE = np.diag([0.8, 0.9, 3.0, 1.0])


def save(path, array, affine=AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


@pytest.fixture
def folders(tmp_path):
    """Three cases of three values; each prediction is its reference moved by a voxel."""
    rng = np.random.default_rng(1)
    for case in ("a", "b", "c"):
        _, label = blob((18, 16, 10), 3, 1, rng)
        save(tmp_path / "truth" / f"{case}.nii.gz", label)
        save(tmp_path / "guess" / f"{case}.nii.gz", np.roll(label, 1, 0))
    return tmp_path / "truth", tmp_path / "guess"


def test_values_are_those_of_the_arrays(folders):
    truth, guess = folders
    found = evaluate_folders(truth, guess, labels={"core": 2, "shell": 1}, nsd_tolerance_mm=0.5)
    assert [c.case for c in found.cases] == ["a", "b", "c"]
    reference = np.asarray(nib.load(truth / "b.nii.gz").dataobj)
    alone = evaluate(np.roll(reference, 1, 0), reference, (0.8, 0.9, 3.0), found.labels, "semiseg", 0.5)
    for label in ("core", "shell"):
        assert found.cases[1].metrics[label] == pytest.approx(alone[label])
    assert found.summary["metric_per_case"][1]["reference_file"] == str(truth / "b.nii.gz")
    assert not found.failed


def test_the_number_of_workers_changes_nothing(folders):
    one, many = (evaluate_folders(*folders, workers=n).summary for n in (1, 3))
    assert one == many


def test_endings_may_differ(folders):
    from semiseg.images import read, write

    truth, guess = folders
    volume = read(guess / "a.nii.gz")
    before = evaluate_folders(truth, guess).summary["foreground_mean"]
    (guess / "a.nii.gz").unlink()
    write(guess / "a.nrrd", volume.array, volume.grid, {})
    (guess / "notes.txt").write_text("not an image")
    assert evaluate_folders(truth, guess).summary["foreground_mean"] == pytest.approx(before)


def test_two_files(folders):
    truth, guess = folders
    shutil.move(guess / "a.nii.gz", guess / "other name.nii.gz")
    found = evaluate_folders(truth / "a.nii.gz", guess / "other name.nii.gz")
    assert [c.case for c in found.cases] == ["a"]
    assert 0 < found.mean("Dice") < 1


def test_every_bad_case_is_reported_and_the_rest_is_scored(folders):
    truth, guess = folders
    label = np.asarray(nib.load(truth / "a.nii.gz").dataobj)
    for case in ("cut", "moved", "shape", "floats", "missing", "twice", "fine"):
        save(truth / f"{case}.nii.gz", label)
    (guess / "cut.nii.gz").write_bytes((guess / "a.nii.gz").read_bytes()[:200])
    moved = AFFINE.copy()
    moved[0, 3] = 0.5
    save(guess / "moved.nii.gz", label, moved)
    save(guess / "shape.nii.gz", label[1:])
    save(guess / "floats.nii.gz", label * np.float32(0.3))
    save(guess / "twice.nii.gz", label)
    save(guess / "twice.nii", label)
    noise = AFFINE.copy()
    noise[0, 3] = 5e-4
    save(guess / "fine.nii.gz", label.astype(np.float32), noise)
    save(guess / "extra.nii.gz", label)
    found = evaluate_folders(truth, guess)
    assert [c.case for c in found.cases] == ["a", "b", "c", "fine"]
    assert list(found.failed) == ["cut", "floats", "missing", "moved", "shape", "twice"]
    assert "0.5 mm" in found.failed["moved"]
    assert "(17, 16, 10)" in found.failed["shape"]
    assert "whole numbers" in found.failed["floats"]
    assert "several files" in found.failed["twice"]
    assert (found.missing, found.extra) == (("missing",), ("extra",))
    problem = found.problem()
    assert problem.exit_code == 5
    assert problem.message.startswith("6 of 10 cases")
    assert found.summary["failed"] == found.failed


def test_missing_predictions_can_be_allowed(folders):
    truth, guess = folders
    (guess / "b.nii.gz").unlink()
    found = evaluate_folders(truth, guess, allow_missing=True)
    assert (found.missing, dict(found.failed), len(found.cases)) == (("b",), {}, 2)


def test_an_error_nobody_expected_stays_with_its_case(folders, monkeypatch):
    from semiseg import images

    real = images.read_label

    def read(path):
        if path.name == "b.nii.gz":
            raise RuntimeError("boom")
        return real(path)

    monkeypatch.setattr(images, "read_label", read)
    found = evaluate_folders(*folders)
    assert dict(found.failed) == {"b": "RuntimeError: boom"}


def test_classes_come_from_the_values_when_nothing_names_them(folders):
    truth, guess = folders
    label = np.zeros((18, 16, 10), np.int16)
    label[3:6, 3:6, 3:6] = 300
    save(truth / "d.nii.gz", label)
    save(guess / "d.nii.gz", label)
    found = evaluate_folders(truth, guess)
    assert dict(found.labels) == {"1": 1, "2": 2, "300": 300}
    assert found.stats("Dice", "300") == pytest.approx((1.0, np.nan, 1), nan_ok=True)
    assert found.empties("300")["both_empty"] == 3
    assert found.cases[0].metrics["300"]["TN"] == label.size
    fast = evaluate_folders(truth, guess, distances=False)
    assert "HD95" not in fast.cases[0].metrics["300"]


def test_dataset_names_ignore_and_label_map(tmp_path):
    folder = make_dataset(tmp_path, classes=3, test=2)
    description = json.loads((folder / "dataset.json").read_text())
    description["labels"] = {"background": 0, "shell": 1, "core": 2, "ignore": 3}
    description["label_map"] = {"10": 1, "20": 2}
    (folder / "dataset.json").write_text(json.dumps(description))
    guess = tmp_path / "guess"
    for path in sorted((folder / "labelsTs").iterdir()):
        label = np.asarray(nib.load(path).dataobj).astype(np.uint8)
        save(guess / path.name, label * 10, np.eye(4))
        label *= 10
        label[:2] = 3
        save(path, label, np.eye(4))
    found = evaluate_folders(folder / "labelsTs", guess, dataset=folder)
    assert dict(found.labels) == {"shell": 1, "core": 2}
    assert found.mean("Dice") == 1
    assert found.cases[0].total == 18 * 22 * 18
    assert not found.notices
    beside = evaluate_folders(folder / "labelsTs", guess)
    assert dict(beside.labels) == {"shell": 1, "core": 2}
    assert "dataset.json" in beside.notices[0]


def test_predictions_with_declared_values_survive_a_label_map_without_inverse(tmp_path):
    folder = make_dataset(tmp_path, classes=3, test=1)
    description = json.loads((folder / "dataset.json").read_text())
    description["label_map"] = {"2": 1, "3": 1, "4": 2}  # several raw values are class 1
    (folder / "dataset.json").write_text(json.dumps(description))
    path = next((folder / "labelsTs").iterdir())
    declared = np.asarray(nib.load(path).dataobj).astype(np.uint8)
    raw = np.array([0, 3, 4], np.uint8)[declared]
    save(path, raw, np.eye(4))
    from types import SimpleNamespace

    from semiseg.preparation.labels import file_values

    plan = SimpleNamespace(
        labels={"background": 0, "structure 1": 1, "structure 2": 2}, label_map={2: 1, 3: 1, 4: 2}
    )
    written = np.array(file_values(plan), np.uint8)[declared]
    save(tmp_path / "guess" / path.name, written, np.eye(4))
    assert evaluate_folders(folder / "labelsTs", tmp_path / "guess", dataset=folder).mean("Dice") == 1


def test_undeclared_values_are_said(folders):
    found = evaluate_folders(*folders, labels={"background": 0, "shell": 1})
    assert found.notices == ("value 2 is in 3 cases and is not a declared class: counted as background",)


def test_color_images_and_2d_label_maps(tmp_path):
    from semiseg.images import write

    label = np.zeros((20, 24), np.uint8)
    label[4:12, 5:15] = 1
    grid = Grid((20, 24), np.eye(4))
    for folder, array in (("truth", label), ("guess", np.roll(label, 2, 1))):
        write(tmp_path / folder / "flat.png", array, grid)
    write(tmp_path / "truth" / "color.png", label, grid)
    write(tmp_path / "guess" / "color.png", np.stack([label, label, 0 * label], -1), grid)
    found = evaluate_folders(tmp_path / "truth", tmp_path / "guess")
    assert found.mean("HD95") == pytest.approx(2.0)
    assert "one value per voxel" in found.failed["color"]


def test_refusals(folders, tmp_path):
    truth, guess = folders
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="does not exist"):
        evaluate_folders(truth, tmp_path / "nowhere")
    with pytest.raises(UsageError, match="a file and a folder"):
        evaluate_folders(truth, guess / "a.nii.gz")
    with pytest.raises(UsageError, match="unknown metric convention"):
        evaluate_folders(truth, guess, convention="medpy")
    with pytest.raises(UsageError, match="tolerance"):
        evaluate_folders(truth, guess, nsd_tolerance_mm=-1)
    with pytest.raises(DataError, match="no label map in"):
        evaluate_folders(truth, tmp_path / "empty")
    assert set(evaluate_folders(truth, tmp_path).failed) == {"a", "b", "c"}, "the references themselves"
    for path in guess.iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(DataError, match="no case in common"):
        evaluate_folders(truth, guess)


def test_some_of_the_cases(folders):
    truth, guess = folders
    (guess / "a.nii.gz").unlink()
    found = evaluate_folders(truth, guess, cases=["b", "d"])
    assert [c.case for c in found.cases] == ["b"]
    assert found.failed == {"d": "no reference"}, "what was not asked for is not missed"


@pytest.mark.parametrize(
    ("reference", "prediction", "case"),
    [
        ("Patient 21/seg.nii.gz", "Patient_21.nii.gz", "Patient_21"),
        ("Patient 21/seg.nii.gz", "Patient 21.nii.gz", "Patient_21"),
        ("Patient 21/seg.nii.gz", "Patient 21/pred_seg.nii.gz", None),
        ("p1_seg.nii.gz", "p1.nii.gz", "p1_seg"),
        ("label0001.nii.gz", "img0001.nii.gz", "label0001"),
        ("p1_gt.nii.gz", "P1_T1.nii.gz", "p1_gt"),
        ("Mu\u0308ller_seg.nii.gz", "M\u00fcller.nii.gz", "Mu\u0308ller_seg"),
    ],
)
def test_names_are_matched_as_init_matches_them(tmp_path, reference, prediction, case):
    label = blob((18, 16, 10), 3, 1, np.random.default_rng(1))[1]
    save(tmp_path / "truth" / reference, label)
    save(
        tmp_path / "truth" / "other.nii.gz" if "/" not in reference else tmp_path / "truth/Q/seg.nii.gz",
        label,
    )
    save(tmp_path / "guess" / prediction, label)
    if case is None:
        with pytest.raises(DataError, match="no case in common"):
            evaluate_folders(tmp_path / "truth", tmp_path / "guess")
        return
    found = evaluate_folders(tmp_path / "truth", tmp_path / "guess", allow_missing=True)
    assert [c.case for c in found.cases] == [case]
    assert found.mean("Dice") == 1


def test_scans_beside_their_masks_are_no_references(tmp_path):
    image, label = blob((18, 16, 10), 3, 1, np.random.default_rng(1))
    save(tmp_path / "truth" / "p1.nii.gz", image[0])
    save(tmp_path / "truth" / "p1_seg.nii.gz", label)
    save(tmp_path / "guess" / "p1.nii.gz", label)
    found = evaluate_folders(tmp_path / "truth", tmp_path / "guess")
    assert not found.failed
    assert found.mean("Dice") == 1
    assert "such as p1 with p1_seg" in found.notices[0]


@pytest.mark.parametrize(
    ("order", "flips"), [((2, 0, 1), ()), ((1, 0, 2), (0,)), ((0, 1, 2), (0, 1, 2)), ((2, 1, 0), (1,))]
)
def test_the_same_anatomy_in_another_axis_order_is_turned(folders, order, flips):
    truth, guess = folders
    before = evaluate_folders(truth, guess)
    for path in guess.iterdir():
        image = nib.load(path)
        array = np.asarray(image.dataobj)
        array = array[tuple(slice(None, None, -1) if k in flips else slice(None) for k in range(3))]
        flipped = np.diag([-1.0 if k in flips else 1.0 for k in range(3)] + [1.0])
        flipped[:3, 3] = [image.shape[k] - 1 if k in flips else 0 for k in range(3)]
        back = np.zeros((4, 4))
        back[3, 3] = 1
        back[list(order), range(3)] = 1
        save(path, array.transpose(order), image.affine @ flipped @ back)
    after = evaluate_folders(truth, guess)
    assert not after.failed
    assert [c.metrics for c in after.cases] == [c.metrics for c in before.cases]


def test_a_name_that_is_not_utf8_does_not_end_it(folders, tmp_path):
    truth, guess = folders
    for folder in folders:
        (folder / "b.nii.gz").rename(folder / os.fsdecode(b"M\xfcller.nii.gz"))
    (guess / "c.nii.gz").rename(guess / os.fsdecode(b"M\xf6ller.nii.gz"))
    found = evaluate_folders(truth, guess)
    assert [c.case for c in found.cases] == ["M\\udcfcller", "a"]
    assert (list(found.failed), found.extra) == (["c"], ("M\\udcf6ller",))
    write(found, tmp_path / "scores")
    assert "udcfc" in (tmp_path / "scores" / "metrics.csv").read_text()


def test_values_that_may_be_raw_or_declared_are_told(folders):
    truth, guess = folders
    record = {"semiseg": "0", "case": "a", "label_values": {"background": 0}, "label_map": {"1": 1, "2": 1}}
    (guess / "a.json").write_text(json.dumps(record))
    assert any("give --dataset" in notice for notice in evaluate_folders(truth, guess).notices)
    (truth.parent / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "MRI"},
                "labels": {"background": 0, "ball": 1},
                "label_map": {"1": 1, "2": 1},
                "file_ending": ".nii.gz",
            }
        )
    )
    told = evaluate_folders(truth, guess, dataset=truth.parent).notices
    assert any("several values of the files mean one class" in notice for notice in told)


@pytest.mark.parametrize(
    ("ending", "spacing", "unit"),
    [
        (".png", None, "px"),
        (".png", [0.5, 0.5], "mm"),
        (".tif", None, "px"),
        (".bmp", None, "px"),
        (".nii.gz", None, "px"),  # its header has a unit, which stays unknown
    ],
)
def test_pixels_without_a_spacing_are_no_millimeters(tmp_path, ending, spacing, unit):
    from semiseg.images import read
    from semiseg.images import write as write_image

    label = blob((18, 16), 3, 1, np.random.default_rng(1))[1]
    for folder in ("truth", "guess"):
        write_image(
            tmp_path / folder / f"a{ending}",
            np.roll(label, folder == "guess", 0),
            Grid((18, 16), np.eye(4), "px"),
        )
        if spacing:
            (tmp_path / folder / "a.json").write_text(json.dumps({"spacing": spacing}))
    assert read(tmp_path / "guess" / f"a{ending}").grid.unit == unit
    found = evaluate_folders(tmp_path / "truth", tmp_path / "guess")
    assert (found.unit, found.summary["unit"]) == (unit, unit)
    assert f"distances in {unit}, NSD at 1 {unit}" in str(rich_table(found).caption)


def test_a_stack_without_a_spacing_has_no_milliliters(tmp_path):
    from semiseg.images import write as write_image

    label = blob((6, 18, 16), 2, 1, np.random.default_rng(1))[1]
    for folder in ("truth", "guess"):
        write_image(tmp_path / folder / "a.tif", label, Grid((6, 18, 16), np.eye(4), "px"))
    found = evaluate_folders(tmp_path / "truth", tmp_path / "guess", labels={"ball": 1, "other": 2})
    assert found.unit == "px"
    assert all(np.isnan(row["VolumeErrorML"]) for row in found.cases[0].metrics.values())
    save(tmp_path / "truth" / "b.nii.gz", label)
    save(tmp_path / "guess" / "b.nii.gz", label)
    found = evaluate_folders(tmp_path / "truth", tmp_path / "guess")
    assert found.unit == "mm"
    assert any("1 of 2 cases have no spacing" in notice for notice in found.notices)
