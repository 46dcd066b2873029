"""``"background": null``: the class of value 0 is one like the others, from dataset.json to the scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.trained import make_plan, make_run

from semiseg import images
from semiseg.dataset.check import check
from semiseg.dataset.dataset import Dataset
from semiseg.errors import DataError
from semiseg.evaluation.evaluate import evaluate_folders
from semiseg.images.grid import Grid
from semiseg.prediction.predict import predict
from semiseg.preparation.labels import IGNORE, file_values, to_classes
from semiseg.preparation.planner import make_plan as make_plan_of

LABELS = {"pupil": 0, "iris": 1, "cornea": 2}
STRIPES = np.repeat(np.arange(3, dtype=np.uint8), 4)[:, None] * np.ones(9, np.uint8)
GRID = Grid((12, 9), np.eye(4), "px")


def eyes(root: Path, label: np.ndarray = STRIPES, **more: object) -> Path:
    """Two labeled pictures with the gray values of the classes of ``tests.trained``: class k has k."""
    for case in ("a", "b"):
        images.write(root / "imagesTr" / f"{case}_0000.png", np.uint8(STRIPES + 1), GRID)
        images.write(root / "labelsTr" / f"{case}.png", label, GRID)
    content = {"channel_names": {"0": "MRI"}, "labels": LABELS, "background": None, "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(content | more))
    return root


@pytest.mark.parametrize(
    ("more", "raw", "classes"),
    [
        ({}, [0, 1, 2], [1, 2, 3]),
        ({"label_map": {"7": 0, "8": 2}}, [0, 7, 8, 1], [1, 1, 3, 2]),
        ({"labels": {**LABELS, "ignore": 3}}, [0, 3, 2], [1, IGNORE, 3]),
    ],
)
def test_values_of_files_become_classes(
    tmp_path: Path, more: dict[str, object], raw: list[int], classes: list[int]
) -> None:
    dataset = Dataset.open(eyes(tmp_path / "eyes", **more))
    assert list(dataset.labels) == ["no class", "pupil", "iris", "cornea"]
    fields = {"labels": dataset.labels, "label_map": dataset.label_map, "ignore_value": dataset.ignore_value}
    plan = make_plan(dim=2, **fields)
    assert to_classes(np.array(raw), plan).tolist() == classes
    with pytest.raises(DataError, match=r"holds [49], wanted only"):
        to_classes(np.array([4 if "labels" in more else 9]), plan)


def test_a_value_above_the_declared_ones_is_told(tmp_path: Path) -> None:
    root = eyes(tmp_path / "eyes", np.where(STRIPES == 2, 3, STRIPES).astype(np.uint8))
    problem = next(p for p in check(root).problems if p.code == "LABEL_VALUES")
    assert "0, 1, 2 (labels" in problem.wanted
    assert check(eyes(tmp_path / "fine")).ok


def test_class_0_is_predicted_and_scored(tmp_path: Path) -> None:
    root = eyes(tmp_path / "eyes")
    dataset = Dataset.open(root)
    plan = make_plan(dim=2, labels=dataset.labels, label_map=dataset.label_map)
    assert file_values(plan)[1:] == (0, 1, 2)
    assert file_values(plan)[0] > 2
    out = tmp_path / "out"
    report = predict(root / "imagesTr", out, make_run(tmp_path / "run", plan), device="cpu")
    assert report.failed == []
    np.testing.assert_array_equal(images.read_label(out / "a.png").array, STRIPES)
    assert json.loads((out / "a.json").read_text())["sizes"] == {"pupil": 36.0, "iris": 36.0, "cornea": 36.0}
    found = evaluate_folders(root / "labelsTr", out)
    assert found.class_means("Dice") == {"pupil": 1.0, "iris": 1.0, "cornea": 1.0}
    assert not [n for n in found.notices if "not a declared class" in n]


def test_it_is_planned(tmp_path: Path) -> None:
    dataset = Dataset.open(eyes(tmp_path / "eyes"))
    plan = make_plan_of(dataset, dataset.split(), workers=0)
    assert (plan.labels, plan.label_map) == (dataset.labels, dataset.label_map)


def test_anything_else_than_null_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="background = 0"):
        Dataset.open(eyes(tmp_path / "eyes", background=0))
