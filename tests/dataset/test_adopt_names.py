"""What cases are called, which mask is whose, and where it is written down."""

from __future__ import annotations

import csv
import json
import os
import unicodedata
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.factories import blob, make_dataset
from tests.images import synthetic_dicom as made

from semiseg.dataset.adopt import adopt
from semiseg.dataset.adopt.names import clean_id, take_apart
from semiseg.dataset.dataset import Dataset
from semiseg.errors import DataError
from semiseg.machine.files import printable


def pile(root: Path, *names: str) -> Path:
    """NIfTI scans, or masks where the name says so."""
    for seed, name in enumerate(names):
        image, label = blob((9, 8, 7), 2, 1, np.random.default_rng(seed))
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        is_mask = any(word in name for word in ("seg", "label", "mask"))
        nib.save(nib.Nifti1Image(label if is_mask else image[0], np.eye(4)), path)
    return root


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "sources.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("names", "unlabeled", "labeled"),
    [
        (["Müller", "Möller"], ["Möller", "Müller"], []),
        (["患者/一", "患者/二"], ["一", "二"], []),
        (["a+b", "a b", "a_b"], ["a_b", "a_b_2", "a_b_3"], []),
        (["🙂", "🙃"], ["case", "case_2"], []),
        (["Müller", unicodedata.normalize("NFD", "Möller_seg"), "Möller"], ["Müller"], ["Möller"]),
        (["img/img0001", "img/img0002", "label/label0001"], ["img0002"], ["img0001"]),
        (["P_0001/scan", "P_0002/scan", "labels/label0001"], ["P_0002"], ["P_0001"]),
        (["TestData/c1", "TrainingData_Part1/c2", "TrainingData_Part1/c2_seg"], [], ["c2"]),
    ],
)
def test_names(tmp_path: Path, names: list[str], unlabeled: list[str], labeled: list[str]) -> None:
    dataset = Dataset.open(adopt(pile(tmp_path / "pile", *names), tmp_path / "Dataset").folder)
    assert [case.id for case in dataset.unannotated] == unlabeled
    assert [case.id for case in dataset.annotated] == labeled


@pytest.mark.parametrize(
    "layout",
    [
        "{} T1|{} T2|{} seg",
        "{}/T1|{}/T2|{}/seg",
        "{}/T1/scan|{}/T2/scan|{}/seg/mask",
        "{} T1/scan|{} T2/scan|{} seg/scan",
        "{}/T1 axial|{}/T2 axial|{}/seg",
        "{}/T1w TSE tra|{}/3D T2|{}/seg",
        "{}/T1 axial/scan|{}/T2_cor/scan|{}/seg",
        "T1_{}|T2_{}|seg_{}",
    ],
)
def test_sequences_in_names_and_folders_are_channels(tmp_path: Path, layout: str) -> None:
    names = [part.format(who) for who in ("Müller, J", "Patient 2") for part in layout.split("|")]
    dataset = Dataset.open(adopt(pile(tmp_path / "pile", *names), tmp_path / "Dataset").folder)
    assert dataset.channel_names == ("T1", "T2")
    assert [case.id for case in dataset.annotated] == ["Müller_J", "Patient_2"]


def test_words_of_a_sequence_that_may_be_names_stay(tmp_path: Path) -> None:
    names = ["CT_01 left", "CT_02 left", "CT_02 left_seg"]
    dataset = Dataset.open(adopt(pile(tmp_path / "pile", *names), tmp_path / "Dataset").folder)
    assert [case.id for case in (*dataset.annotated, *dataset.unannotated)] == ["CT_02_left", "CT_01_left"]


def test_a_sequence_in_the_name_of_some_scans_names_no_channel(tmp_path: Path) -> None:
    result = adopt(
        pile(tmp_path / "pile", "c1", "c1_seg", "c2", "c2_seg", "t1", "t1_seg"), tmp_path / "Dataset"
    )
    assert result.dataset["channel_names"] == {"0": "image"}


def test_contrast_makes_t1_another_channel(tmp_path: Path) -> None:
    names = [f"{who}/{what}" for who in ("Anna", "Bernd") for what in ("T1 ax", "T1 post Gd ax", "label")]
    dataset = Dataset.open(adopt(pile(tmp_path / "pile", *names), tmp_path / "Dataset").folder)
    assert dataset.channel_names == ("T1", "T1c")
    assert [case.id for case in dataset.annotated] == ["Anna", "Bernd"]


def test_nothing_is_to_be_renamed_that_is_said(tmp_path: Path) -> None:
    source = make_dataset(tmp_path, channels=2, unlabeled=0)
    made = adopt(source, tmp_path / "copy")
    assert made.dataset["channel_names"] == json.loads((source / "dataset.json").read_text())["channel_names"]
    assert not [text for text in made.decisions if "rename" in text]


def test_sources_say_which_file_became_which(tmp_path: Path) -> None:
    source = pile(tmp_path / "pile", "Müller, J/T1", "Müller, J/T2", "Müller, J/seg")
    made.write_series(source / "dicom" / "T1", made.volume())
    made.write_series(source / "dicom" / "T2", made.volume())
    folder = adopt(source, tmp_path / "Dataset").folder
    found = rows(folder)
    assert [(row["file"], row["channel"], row["source"]) for row in found] == [
        ("imagesTr/Müller_J_0000.nii.gz", "T1", "Müller, J/T1.nii.gz"),
        ("imagesTr/Müller_J_0001.nii.gz", "T2", "Müller, J/T2.nii.gz"),
        ("imagesUn/dicom_0000.nii.gz", "T1", "dicom/T1"),
        ("imagesUn/dicom_0001.nii.gz", "T2", "dicom/T2"),
        ("labelsTr/Müller_J.nii.gz", "", "Müller, J/seg.nii.gz"),
    ]
    assert [row["role"] for row in found] == ["image"] * 4 + ["label"]
    assert [bool(row["series_instance_uid"]) for row in found] == [False, False, True, True, False]


def test_a_zip_is_read_as_the_folder_it_holds(tmp_path: Path) -> None:
    source = pile(tmp_path / "all" / "top", "Anna/scan", "Anna/seg", "Bernd/scan")
    made.write_series(source / "Clara", made.volume())
    made.write_series(source / "Dora", made.volume())
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in sorted(source.rglob("*")):
            archive.write(file, file.relative_to(tmp_path / "all"))
    folder = adopt(tmp_path / "all.zip", tmp_path / "Dataset").folder
    dataset = Dataset.open(folder)
    assert [case.id for case in dataset.annotated] == ["Anna"]
    assert [case.id for case in dataset.unannotated] == ["Bernd", "Clara", "Dora"]
    assert {row["source"] for row in rows(folder)} == {
        "all.zip/top/Anna/scan.nii.gz", "all.zip/top/Anna/seg.nii.gz", "all.zip/top/Bernd/scan.nii.gz",
        "all.zip/top/Clara", "all.zip/top/Dora",
    }  # fmt: skip


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    source = pile(tmp_path / "pile", "a", "b")
    (source / "a.nii.gz").rename(source / os.fsdecode(b"M\xfcller.nii.gz"))
    folder = adopt(source, tmp_path / "Dataset").folder
    assert [case.id for case in Dataset.open(folder).unannotated] == ["M_ller", "b"]
    assert {row["source"] for row in rows(folder)} == {"M\\udcfcller.nii.gz", "b.nii.gz"}


def test_predictions_among_the_scans_are_no_scans(tmp_path: Path) -> None:
    source = pile(tmp_path / "pile", "a", "out/a")
    (source / "out" / "prediction_report.json").write_text("{}")
    result = adopt(source, tmp_path / "Dataset")
    assert [case.id for case in Dataset.open(result.folder).unannotated] == ["a"]
    assert any("folder of predictions: out" in notice for notice in result.notices)


def test_datasets_among_the_scans_and_links_to_nothing_are_told(tmp_path: Path) -> None:
    source = pile(tmp_path / "pile", "a", "b")
    adopt(source, source / "Dataset")
    (source / "c.nii.gz").symlink_to(source / ".git" / "annex" / "c")
    result = adopt(source, tmp_path / "Again")
    assert [case.id for case in Dataset.open(result.folder).unannotated] == ["a", "b"]
    told = " ".join(result.notices)
    assert "1 dataset made of scans: Dataset" in told
    assert "left out 1 image that is a link to nothing" in told
    assert "c.nii.gz" in told


def test_two_files_of_one_name_are_still_ambiguous(tmp_path: Path) -> None:
    source = pile(tmp_path / "pile", "a")
    nib.save(nib.load(source / "a.nii.gz"), source / "a.nii")
    with pytest.raises(DataError, match="would all be"):
        adopt(source, tmp_path / "Dataset")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(
            ("a" * 400, "a" * 180),
            ("ü" * 200, "ü" * 90),
            ("..", "case"),
            ("रोगी 1", "रोगी_1"),
            ("a\nb", "a_b"),
        ),
        *(("CON", "case_CON"), ("nul.2", "case_nul.2"), ("Lpt1", "case_Lpt1"), ("console", "console")),
        *(("knee. ", "knee"), ("12:30", "12_30"), ("a" * 179 + ".b", "a" * 179)),
    ],
)
def test_ids_are_names_of_files(text: str, name: str) -> None:
    assert clean_id(text) == name


def test_what_is_shown_can_be_shown() -> None:
    assert printable("a\x1b[2J\udcff/ü") == "a\\x1b[2J\\udcff/ü"
    assert take_apart("Müller_T1").key == "Müller"
