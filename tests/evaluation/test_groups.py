"""Scores by patient, video or center beside those per case."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.lookalikes import save_nii

import semiseg
from semiseg.errors import UsageError
from semiseg.evaluation.tables import group_table, read_evaluation, summary, write

CASES = ("patient1_a", "patient1_b", "patient2_a")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three references; the predictions of the first and the last are right, the second has half."""
    for n, case in enumerate(CASES):
        label = np.zeros((4, 4, 4), np.uint8)
        label[:2] = 1
        save_nii(tmp_path / "labelsTs" / f"{case}.nii.gz", label)
        label[: n == 1] = 0
        save_nii(tmp_path / "maps" / f"{case}.nii.gz", label)
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "heart": 1}, "numTraining": 0}
    content |= {"file_ending": ".nii.gz", "cases": {case: {"center": case[-1]} for case in CASES[:2]}}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    (tmp_path / "splits.json").write_text(json.dumps({"group_by_patient": r"(patient\d)"}))
    return tmp_path


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        ("patient", {"patient1": (2, 5 / 6), "patient2": (1, 1.0)}),
        ("center", {"(none)": (1, 1.0), "a": (1, 1.0), "b": (1, 2 / 3)}),
        ("8", {"patient1": (2, 5 / 6), "patient2": (1, 1.0)}),
        (r".*_(\w)", {"a": (2, 1.0), "b": (1, 2 / 3)}),
    ],
)
def test_each_group_has_the_mean_of_its_cases(
    dataset: Path, by: str, wanted: dict[str, tuple[int, float]]
) -> None:
    found = semiseg.evaluate(dataset / "labelsTs", dataset / "maps", group=by)
    told = summary(found)["groups"]
    assert {group: len(each["cases"]) for group, each in told.items()} == {
        g: n for g, (n, _) in wanted.items()
    }
    assert {g: each["mean"]["1"]["Dice"] for g, each in told.items()} == {
        group: pytest.approx(dice) for group, (_, dice) in wanted.items()
    }
    assert [row[0].text for row in group_table(found).rows] == list(wanted)
    write(found, dataset / "out")
    assert read_evaluation(dataset / "out").groups == found.groups
    assert "groups" not in summary(semiseg.evaluate(dataset / "labelsTs", dataset / "maps"))


def test_a_rule_that_fits_nothing(dataset: Path) -> None:
    with pytest.raises(UsageError, match="--group hospital says nothing") as caught:
        semiseg.evaluate(dataset / "labelsTs", dataset / "maps", group="hospital")
    assert ", center" in caught.value.hint
