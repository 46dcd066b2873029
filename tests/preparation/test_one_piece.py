"""Classes that are one piece in every labeled scan: found by the plan, kept whole in predictions."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.factories import make_dataset

import semiseg
from semiseg.dataset.dataset import Dataset
from semiseg.images import read
from semiseg.prediction.model import Model
from semiseg.preparation.planner import make_plan
from semiseg.settings.resolve import validate

SHAPE = (16, 16, 16)


def dataset(root: Path, labels: list[np.ndarray]) -> Dataset:
    """A dataset whose labeled cases have these labels."""
    folder = make_dataset(root, labeled=len(labels), unlabeled=1, shape=SHAPE, classes=3)
    for number, label in enumerate(labels):
        nib.save(nib.Nifti1Image(label, np.eye(4)), folder / "labelsTr" / f"case_{number:02d}.nii.gz")
    return Dataset.open(folder)


def label(*boxes: tuple[int, int, int]) -> np.ndarray:
    """Cubes, each given by value, first voxel and edge."""
    found = np.zeros(SHAPE, np.uint8)
    for value, begin, edge in boxes:
        found[begin : begin + edge, begin : begin + edge, begin : begin + edge] = value
    return found


WHOLE, SMALL = (1, 1, 6), (2, 9, 5)


@pytest.mark.parametrize(
    ("last", "count", "wanted"),
    [
        ([WHOLE, SMALL], 4, ("structure 1", "structure 2")),
        ([WHOLE, SMALL], 3, ()),  # too few to tell
        ([WHOLE, SMALL, (1, 15, 1)], 4, ("structure 1", "structure 2")),  # a slip of the pen
        ([WHOLE, SMALL, (1, 13, 2), (1, 8, 1)], 4, ("structure 1", "structure 2")),  # 4 % of it
        ([(1, 1, 4), SMALL, (1, 7, 2)], 4, ("structure 2",)),  # a second piece
        ([(1, 2, 2), SMALL], 4, ("structure 2",)),  # another size: a lesion
        ([SMALL], 4, ("structure 2",)),  # shown by three alone
    ],
)
def test_the_plan_says_which_classes_are_one_piece(tmp_path, last, count, wanted):
    folder = dataset(tmp_path, [label(WHOLE, SMALL)] * (count - 1) + [label(*last)])
    plan = make_plan(folder, folder.split())
    assert plan.one_piece == wanted


def test_labels_of_unlabeled_scans_say_nothing(tmp_path):
    folder = dataset(tmp_path, [label(WHOLE, SMALL)] * 4 + [label((1, 1, 4), SMALL, (1, 7, 2))])
    hidden = folder.split(labeled=4)
    assert [case.id for case in hidden.labeled] == [f"case_{number:02d}" for number in range(4)]
    assert make_plan(folder, hidden).one_piece == ("structure 1", "structure 2")
    assert make_plan(folder, folder.split()).one_piece == ("structure 2",)


def test_regions_are_left_alone(tmp_path):
    folder = dataset(tmp_path, [label(WHOLE, SMALL)] * 4).root
    content = json.loads((folder / "dataset.json").read_text())
    content["labels"] = {"background": 0, "all": [1, 2], "core": 2}
    content["regions_class_order"] = [1, 2]
    (folder / "dataset.json").write_text(json.dumps(content))
    opened = Dataset.open(folder)
    assert make_plan(opened, opened.split()).one_piece == ()


def test_a_run_keeps_the_largest_piece_and_a_scan_with_more_is_told(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    folder = dataset(tmp_path, [label(WHOLE, SMALL)] * 4).root
    tiny = {"plan.patch": [16, 16, 16], "plan.features": [4, 8]}
    run = semiseg.train(folder, iterations=1, settings=tiny, run="run", device="cpu")
    assert run.config.inference.largest_component == "plan"  # the same for runs with other labels
    assert Model.load(run.folder).settings.largest_component == ("structure 1", "structure 2")
    semiseg.train(folder, iterations=1, settings=tiny, run="run", device="cpu", resume=True)

    found = label((1, 1, 4), (1, 8, 3), (1, 12, 3))
    kept = label((1, 1, 4))
    monkeypatch.setattr("semiseg.prediction.assembly.LabelRestorer.result", lambda self: found)
    report = semiseg.predict(folder / "imagesTs", "out", run.folder, device="cpu")
    record = json.loads((tmp_path / "out" / "ts_00.json").read_text())
    assert record["dropped"] == {"structure 1": pytest.approx(54 / 64, abs=1e-3)}
    assert record["unlike"] == []
    assert [case.dropped for case in report.cases] == [record["dropped"]] * 2
    assert "look at 2 of 2 scans, such as ts_00: structure 1 is one piece" in caplog.text
    assert "84% of the largest, were dropped" in caplog.text
    np.testing.assert_array_equal(read(tmp_path / "out" / "ts_00.nii.gz").array, kept)

    everything = {"largest_component": False}
    semiseg.predict(folder / "imagesTs", "all", run.folder, device="cpu", overrides=everything)
    np.testing.assert_array_equal(read(tmp_path / "all" / "ts_00.nii.gz").array, found)


def test_plan_means_what_the_plan_of_the_model_says():
    settings = validate({"inference": {"largest_component": "plan"}}).inference
    assert settings.of_plan(("a",)).largest_component == ("a",)
    assert validate({}).inference.of_plan(("a",)).largest_component is False
