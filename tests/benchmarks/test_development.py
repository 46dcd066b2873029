"""A development dataset: the last training cases become its test cases, wherever the files of a case lie."""

from __future__ import annotations

import json

import pytest
from benchmarks.development import development

from semiseg.dataset.dataset import Dataset
from tests.factories import make_dataset


@pytest.fixture
def elsewhere(tmp_path):
    """Four labeled cases, of which the `dataset` key finds the first and the last in another folder."""
    folder = make_dataset(tmp_path, labeled=4, unlabeled=1)
    away = tmp_path / "elsewhere"
    away.mkdir()
    content = json.loads((folder / "dataset.json").read_text())
    content["dataset"] = {}
    for i in range(4):
        image, label = f"imagesTr/case_0{i}_0000.nii.gz", f"labelsTr/case_0{i}.nii.gz"
        if i in (0, 3):
            for name in (image, label):
                (folder / name).rename(away / name.replace("/", "-"))
            image, label = (f"../elsewhere/{name.replace('/', '-')}" for name in (image, label))
        content["dataset"][f"case_0{i}"] = {"images": [image], "label": label}
    (folder / "dataset.json").write_text(json.dumps(content))
    splits = {"order": [f"case_0{i}" for i in range(4)], "group_by_patient": r"(\w+_\d+)"}
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder


def test_cases_that_lie_elsewhere_are_not_lost(elsewhere, tmp_path):
    development(elsewhere, tmp_path / "Dataset901_Dev", 2)
    found = Dataset.open(tmp_path / "Dataset901_Dev")
    assert [case.id for case in found.annotated] == ["case_00", "case_01"]
    assert [case.id for case in found.test] == ["case_02", "case_03"]
    assert [case.id for case in found.unannotated] == ["un_00"]
    assert found.notices == []
    before = {case.id: case for case in Dataset.open(elsewhere).annotated}
    for case in (*found.annotated, *found.test):
        assert [file.resolve() for file in case.images] == [file.resolve() for file in before[case.id].images]
        assert case.label.resolve() == before[case.id].label.resolve()
    assert len(found.split(labeled_patients=1).labeled) == 1


def test_the_last_cases_as_a_validation_list(elsewhere, tmp_path):
    development(elsewhere, tmp_path / "Dataset901_Dev", 2, validation=True)
    split = Dataset.open(tmp_path / "Dataset901_Dev").split(labeled=1)
    assert [case.id for case in split.val] == ["case_02", "case_03"]
    assert [case.id for case in split.unlabeled] == ["case_01", "un_00"]
    assert split.test == ()


def test_the_real_test_cases_are_not_in_it(tmp_path):
    development(make_dataset(tmp_path, labeled=3), tmp_path / "Dataset901_Dev", 1)
    found = Dataset.open(tmp_path / "Dataset901_Dev")
    assert [case.id for case in found.test] == ["case_02"]


@pytest.mark.parametrize(
    ("order", "cases", "words"),
    [
        (["case_00", "case_01", "case_09"], 1, "case_09"),
        (["case_00", "case_01"], 2, "2 training cases"),
    ],
)
def test_a_wrong_order_is_told(tmp_path, order, cases, words):
    folder = make_dataset(tmp_path, labeled=3)
    (folder / "splits.json").write_text(json.dumps({"order": order}))
    with pytest.raises(SystemExit, match=words):
        development(folder, tmp_path / "Dataset901_Dev", cases)
