"""Opening a dataset folder: what it holds, what it refuses, and that it opens no scan."""

from __future__ import annotations

import builtins
import io
import json
from pathlib import Path

import pytest
from tests.factories import make_dataset

from semiseg.dataset.case import Case, LabeledCase
from semiseg.dataset.dataset import Dataset
from semiseg.errors import DataError, SemisegError, UsageError


def edit(folder: Path, **changes: object) -> None:
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def fault_lines(folder: Path) -> str:
    with pytest.raises(SemisegError) as caught:
        Dataset.open(folder)
    return caught.value.message


def test_lists_what_is_there(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=3, unlabeled=2, test=1, classes=3, channels=2, shape=(8, 8, 8))
    (folder / "labelsTr" / "case_01.nii.gz").unlink()
    dataset = Dataset.open(folder)
    assert dataset.name == "Dataset001_Tiny"
    assert dataset.channel_names == ("MRI", "MRI")
    assert list(dataset.labels.values()) == [0, 1, 2]
    assert dataset.ignore_value is None
    assert [c.id for c in dataset.annotated] == ["case_00", "case_02"]
    assert [c.id for c in dataset.unannotated] == ["case_01", "un_00", "un_01"]
    assert [p.name for p in dataset.annotated[0].images] == ["case_00_0000.nii.gz", "case_00_0001.nii.gz"]
    assert isinstance(dataset.test[0], LabeledCase)
    assert any("case_01" in notice and "unlabeled" in notice for notice in dataset.notices)


def test_a_case_without_label_has_no_label_field(tmp_path: Path) -> None:
    dataset = Dataset.open(make_dataset(tmp_path, shape=(8, 8, 8)))
    assert all(type(case) is Case and not hasattr(case, "label") for case in dataset.unannotated)


def test_opening_reads_no_image_and_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_dataset(tmp_path, shape=(8, 8, 8))
    opened: list[str] = []
    original = io.open

    def spy(file, *args, **kwargs):
        opened.append(str(file))
        return original(file, *args, **kwargs)

    monkeypatch.setattr(io, "open", spy)
    monkeypatch.setattr(builtins, "open", spy)
    Dataset.open(folder).split(labeled=1)
    assert {Path(name).name for name in opened} == {"dataset.json", "splits.json"}


def test_hidden_files_are_skipped_with_a_notice(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, shape=(8, 8, 8))
    (folder / "imagesTr" / "._case_00_0000.nii.gz").write_bytes(b"mac")
    (folder / "labelsTr" / ".DS_Store").write_bytes(b"mac")
    dataset = Dataset.open(folder)
    assert len(dataset.annotated) == 3
    assert sum("hidden" in notice for notice in dataset.notices) == 2


@pytest.mark.parametrize("name", ["104", 104, "Dataset104", "Dataset104_Tiny"])
@pytest.mark.parametrize("variable", ["SEMISEG_DATA", "nnUNet_raw"])
def test_names_and_ids_resolve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | int, variable: str
) -> None:
    make_dataset(tmp_path, labeled=1, unlabeled=0, test=0, shape=(8, 8, 8), name="Dataset104_Tiny")
    monkeypatch.setenv(variable, str(tmp_path))
    assert Dataset.open(name).root == tmp_path / "Dataset104_Tiny"


def test_a_typo_names_the_nearest_folder(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=0, test=0, shape=(8, 8, 8), name="Dataset104_Tiny")
    with pytest.raises(UsageError, match="Did you mean") as caught:
        Dataset.open(tmp_path / "Dataset104_Tny")
    assert str(folder) in caught.value.message
    with pytest.raises(UsageError) as caught:
        Dataset.open(tmp_path.parent / (tmp_path.name + "x") / folder.name)
    assert str(folder) in caught.value.message


def test_no_dataset_json_says_how_to_make_one(tmp_path: Path) -> None:
    make_dataset(tmp_path, labeled=1, unlabeled=0, test=0, shape=(8, 8, 8))
    with pytest.raises(DataError) as caught:
        Dataset.open(tmp_path)
    assert "Dataset001_Tiny" in caught.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        Dataset.open(tmp_path / "empty")
    assert "semiseg init" in caught.value.hint


def test_every_fault_of_dataset_json_at_once(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=0, test=0, shape=(8, 8, 8))
    edit(
        folder,
        channel_names={"1": "T1", "2": "T2"},
        labels={"background": 0, "a": 3, "b": 3, "ignore": 1},
        file_ending="nii.gz",
        numTraining="one",
        label_map={"255": 9},
    )
    text = fault_lines(folder)
    expected = [
        "channel_names keys",
        "value 3 for a and b",
        "consecutive",
        "ignore = 1",
        "numTraining",
        "label_map",
    ]
    assert [word for word in expected if word not in text] == []
    assert "file_ending = 'nii.gz'" in text
    assert '"file_ending": ".nii.gz"' in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": {"background": 0, "whole": [1, 2]}}, "regions"),
        ({"labels": {"0": "background", "1": "liver"}}, "Decathlon"),
        ({"labels": {"background": 0, "liver": "1"}}, "whole number"),
        ({"labels": {"background": 0}}, "at least one class"),
        ({"labels": {"organ": 1, "lesion": 2}}, "no class with value 0"),
        ({"labels": None}, "no key 'labels'"),
        ({"channel_names": None, "modality": {"0": "CT"}}, "Decathlon"),
        ({"file_ending": ".docx"}, "file_ending = '.docx'"),
    ],
)
def test_single_faults(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=0, test=0, shape=(8, 8, 8))
    edit(folder, **changes)
    assert words in fault_lines(folder)


def test_text_that_is_not_json(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=0, test=0, shape=(8, 8, 8))
    (folder / "dataset.json").write_text("{'channel_names': ")
    assert "not JSON" in fault_lines(folder)


def test_ignore_and_label_map(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=0, test=0, shape=(8, 8, 8))
    edit(folder, labels={"ignore": 2, "organ": 1, "background": 0}, label_map={"255": 2})
    dataset = Dataset.open(folder)
    assert dataset.labels == {"background": 0, "organ": 1}
    assert list(dataset.labels) == ["background", "organ"]
    assert (dataset.ignore_value, dataset.label_map) == (2, {255: 2})


def test_every_structural_problem_at_once(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, channels=2, shape=(8, 8, 8))
    (folder / "imagesTr" / "case_00_0001.nii.gz").unlink()
    (folder / "imagesTr" / "loose.nii.gz").write_bytes(b"")
    (folder / "imagesUn" / "un_00_0000.nii.gz").rename(folder / "imagesUn" / "un_00_0000.nii")
    (folder / "labelsTr" / "nobody.nii.gz").write_bytes(b"")
    for channel in range(2):
        source = folder / "imagesTs" / f"ts_00_000{channel}.nii.gz"
        source.rename(folder / "imagesTs" / f"case_01_000{channel}.nii.gz")
    with pytest.raises(DataError) as caught:
        Dataset.open(folder)
    codes = {problem["code"] for problem in caught.value.details["problems"]}
    assert codes >= {"MISSING_CHANNEL", "EXTRA_FILE", "MIXED_ENDINGS", "MISSING_IMAGE", "CASE_IN_TWO_LISTS"}
    assert "case_00_0001.nii.gz" in caught.value.message


def test_the_dataset_key_replaces_the_folder_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_dataset(tmp_path, labeled=2, unlabeled=0, test=0, shape=(8, 8, 8), order=False)
    monkeypatch.setenv("SCANS", str(folder / "imagesTr"))
    mapping = {
        "anna": {"images": ["$SCANS/case_00_0000.nii.gz"], "label": "labelsTr/case_00.nii.gz"},
        "bert": {"images": ["imagesTr/case_01_0000.nii.gz"]},
    }
    edit(folder, dataset=mapping)
    dataset = Dataset.open(folder)
    assert [c.id for c in dataset.annotated] == ["anna"]
    assert [c.id for c in dataset.unannotated] == ["bert"]
    assert dataset.annotated[0].images[0].is_file()
    edit(folder, dataset={"anna": {"images": ["gone.nii.gz"]}})
    assert "gone.nii.gz" in fault_lines(folder)


def test_num_training_is_a_notice(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, shape=(8, 8, 8))
    edit(folder, numTraining=7)
    assert any("numTraining = 7" in notice for notice in Dataset.open(folder).notices)


def test_color_pictures_hold_three_channels_in_one_file(tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    (tmp_path / "imagesTr" / "a_0000.png").write_bytes(b"not opened")
    (tmp_path / "labelsTr" / "a.png").write_bytes(b"not opened")
    names = {"0": "R", "1": "G", "2": "B"}
    described = {"channel_names": names, "labels": {"background": 0, "x": 1}, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    assert len(Dataset.open(tmp_path).annotated[0].images) == 1
