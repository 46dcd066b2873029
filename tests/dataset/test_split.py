"""The four lists: published orders, budgets, patients, and independence of labels nobody may open."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from tests.factories import make_dataset

from semiseg.dataset.case import Case, LabeledCase
from semiseg.dataset.check import check
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.patient import PatientRule
from semiseg.dataset.split import Split
from semiseg.errors import DataError, UsageError

TINY = (6, 6, 6)


def dataset(tmp_path: Path, splits: object = None, labeled: int = 4, **options: int) -> Dataset:
    folder = make_dataset(tmp_path, labeled=labeled, shape=TINY, order=False, **options)
    if splits is not None:
        (folder / "splits.json").write_text(json.dumps(splits))
    return Dataset.open(folder)


def ids(cases: tuple[Case, ...]) -> list[str]:
    return [case.id for case in cases]


def cases(*numbers: int) -> list[str]:
    return [f"case_{n:02d}" for n in numbers]


def test_the_first_k_of_the_order_are_labeled(tmp_path: Path) -> None:
    opened = dataset(tmp_path, {"order": cases(2, 0, 3), "val": cases(1)}, unlabeled=2)
    split = opened.split(labeled=2)
    assert ids(split.labeled) == cases(2, 0)
    assert ids(split.val) == cases(1)
    assert ids(split.unlabeled) == ["case_03", "un_00", "un_01"]
    assert ids(split.test) == ["ts_00", "ts_01"]
    assert ids(opened.annotated) == cases(2, 0, 3, 1)
    assert ids(opened.split().labeled) == cases(2, 0, 3)


def test_labels_not_chosen_are_dropped(tmp_path: Path) -> None:
    split = dataset(tmp_path, {"order": cases(0, 1, 2, 3)}).split(labeled=1)
    assert all(type(case) is Case for case in (*split.unlabeled, *split.test))
    assert all(isinstance(case, LabeledCase) for case in split.labeled)
    assert split.unlabeled
    assert split.test


@pytest.mark.parametrize("splits", [{"order": cases(2, 0, 3, 1)}, None])
def test_deleting_labels_that_may_not_be_opened_changes_nothing(tmp_path: Path, splits: object) -> None:
    before_it = dataset(tmp_path, splits)
    before = before_it.split(labeled=2, seed=3)
    kept = {case.label for case in before.labeled}
    deleted = [
        p for folder in ("labelsTr", "labelsTs") for p in (before_it.root / folder).iterdir() if p not in kept
    ]
    for path in deleted:
        path.unlink()
    assert len(deleted) == 4
    after = Dataset.open(before_it.root).split(labeled=2, seed=3)
    assert after == before
    assert after.sha256() == before.sha256()


def test_the_real_left_atrium_order(shared_data: Path) -> None:
    opened = Dataset.open(shared_data / "Dataset101_LeftAtrium")
    split = opened.split(labeled=8)
    assert ids(split.labeled)[0] == "LA_06SR5RBREL16DQ6M8LWS"
    assert (len(split.labeled), len(split.unlabeled), len(split.val), len(split.test)) == (8, 72, 0, 20)


def test_without_a_file_the_seed_decides(tmp_path: Path) -> None:
    opened = dataset(tmp_path, labeled=8)
    lists = [ids(opened.split(labeled=8, seed=seed).labeled) for seed in range(3)]
    assert lists[0] == ids(opened.split(labeled=8, seed=0).labeled)
    assert len({tuple(order) for order in lists}) == 3
    assert ids(opened.split(labeled=3).labeled) == lists[0][:3]
    assert "seed 0" in opened.split().source


def test_folds_in_both_spellings(tmp_path: Path) -> None:
    folds = [
        {"labeled": cases(0), "unlabeled": ["un_00"], "val": cases(1)},
        {"labelled": cases(3, 2), "unlabelled": cases(0), "val": cases(1)},
    ]
    opened = dataset(tmp_path, {"seed": 0, "folds": folds, "test": ["ts_01"]})
    assert ids(opened.split(fold=0).unlabeled) == ["un_00"]
    second = opened.split(labeled=1, fold=1)
    assert ids(second.labeled) == cases(3)
    assert ids(second.unlabeled) == cases(0, 2)
    assert ids(second.test) == ["ts_01"]
    with pytest.raises(UsageError, match="wanted 0 to 1") as caught:
        opened.split(fold=2)
    assert caught.value.code == "FOLD"


def test_nnunet_splits_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folds = [{"train": cases(0, 1, 2), "val": cases(3)}, {"train": cases(3, 2, 1), "val": cases(0)}]
    opened = dataset(tmp_path / "raw")
    elsewhere = tmp_path / "preprocessed" / opened.name
    elsewhere.mkdir(parents=True)
    (elsewhere / "splits_final.json").write_text(json.dumps(folds))
    assert ids(opened.split().val) == []
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    split = Dataset.open(opened.root).split(labeled=2, fold=1)
    assert ids(split.labeled) == cases(3, 2)
    assert ids(split.val) == cases(0)
    assert "splits_final.json" in split.source


@pytest.mark.parametrize("labeled", [0, -1, 5])
def test_budgets_that_do_not_fit(tmp_path: Path, labeled: int) -> None:
    with pytest.raises(UsageError, match="wanted 1 to 4 cases"):
        dataset(tmp_path, {"order": cases(0, 1, 2, 3)}).split(labeled=labeled)


def test_every_fault_of_the_lists_at_once(tmp_path: Path) -> None:
    opened = dataset(tmp_path, {"order": [*cases(0, 1, 1), "typo"], "val": ["case_00", "un_00"]})
    with pytest.raises(DataError) as caught:
        opened.split(labeled=4, fold=1)
    codes = {problem["code"] for problem in caught.value.details["problems"]}
    assert codes == {"UNKNOWN_CASE", "CASE_IN_TWO_LISTS", "MISSING_LABEL", "FOLD"}
    for word in ("typo", "case_00 in both labeled and val", "case_01 twice", "no label for un_00"):
        assert word in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "3",
        '{"order": "case_00"}',
        '{"folds": []}',
        '{"group_by_patient": -1}',
        '{"group_by_patient": "((a+)+)"}',
    ],
)
def test_broken_split_files_open_but_do_not_split(tmp_path: Path, text: str) -> None:
    folder = make_dataset(tmp_path, shape=TINY)
    (folder / "splits.json").write_text(text)
    opened = Dataset.open(folder)
    with pytest.raises(DataError, match=r"splits\.json"):
        opened.split()


@pytest.mark.parametrize("image", ["NFC", "NFD"])
def test_letters_that_are_composed_otherwise_are_the_same_name(tmp_path: Path, image: str) -> None:
    """``ü`` is one letter to Linux and two to older Macs: in labels and lists it means the same scan."""
    folder = make_dataset(tmp_path, shape=TINY, unlabeled=1)
    forms = {"NFC", "NFD"}
    (other,) = forms - {image}
    scan, label = (unicodedata.normalize(form, "Müller") for form in (image, other))
    (folder / "imagesTr" / "case_00_0000.nii.gz").rename(folder / "imagesTr" / f"{scan}_0000.nii.gz")
    (folder / "labelsTr" / "case_00.nii.gz").rename(folder / "labelsTr" / f"{label}.nii.gz")
    lists = {"order": ["case_01", label], "group_by_patient": {label: "M"}}
    (folder / "splits.json").write_text(json.dumps(lists))
    assert not check(folder, workers=1).errors
    found = Dataset.open(folder).split()
    assert scan in [case.id for case in found.labeled]


@pytest.mark.parametrize(
    "rule",
    [10, r"(patient\d+)_", "the first 10 characters of a case name are its patient: keep them together"],
)
def test_patients_stay_together(tmp_path: Path, rule: object) -> None:
    opened = patients(tmp_path, {"order": PAIRS, "group_by_patient": rule})
    assert len(opened.split(labeled=4).labeled) == 4
    with pytest.raises(UsageError, match="cuts patient patient002") as caught:
        opened.split(labeled=3)
    assert caught.value.hint == "use 2 or 4 labeled cases"
    assert ids(opened.split(labeled_patients=2).labeled) == PAIRS[:4]
    with pytest.raises(UsageError, match="wanted 1 to 3 patients"):
        opened.split(labeled_patients=4)
    told = opened.split(labeled=4).as_dict()
    assert {told["patients"][case] for case in PAIRS[:2]} == {"patient001"}
    assert set(told["patients"]) == {*told["labeled"], *told["unlabeled"], *told["val"], *told["test"]}


def test_whose_a_case_is_stays_unsaid_where_nobody_knows(tmp_path: Path) -> None:
    assert "patients" not in patients(tmp_path, {"order": PAIRS}).split(labeled=2).as_dict()


def test_a_patient_in_training_and_validation_is_an_error(tmp_path: Path) -> None:
    opened = patients(tmp_path, {"order": PAIRS[:5], "val": PAIRS[5:], "group_by_patient": 10})
    with pytest.raises(DataError, match="patient003 in both labeled and val") as caught:
        opened.split()
    assert caught.value.code == "PATIENT_IN_TWO_LISTS"


def test_the_seeded_order_keeps_patients_together(tmp_path: Path) -> None:
    opened = patients(tmp_path, {"group_by_patient": 10})
    for seed in range(5):
        split = opened.split(labeled=2, seed=seed)
        assert len({case.id[:10] for case in split.labeled}) == 1


def test_patient_rules_that_say_nothing() -> None:
    assert isinstance(PatientRule.parse("keep patients together"), str)
    assert isinstance(PatientRule.parse(True), str)
    assert PatientRule("x", prefix=5).patient("abc") is None


def test_the_real_acdc_patients(shared_data: Path) -> None:
    opened = Dataset.open(shared_data / "Dataset102_ACDC")
    assert len(opened.split(labeled_patients=7).labeled) == 14
    with pytest.raises(UsageError, match="patient038"):
        opened.split(labeled=3)


def test_a_split_is_known_by_its_ids(tmp_path: Path) -> None:
    opened = dataset(tmp_path, {"order": cases(0, 1, 2, 3)})
    one, other = opened.split(labeled=1), opened.split(labeled=2)
    assert one.sha256() != other.sha256()
    assert one.as_dict()["labeled"] == ["case_00"]
    renamed = Split(one.labeled, one.unlabeled, one.val, one.test, "elsewhere")
    assert renamed.sha256() == one.sha256()


PAIRS = [f"patient00{p}_frame0{f}" for p in (1, 2, 3) for f in (1, 2)]


def patients(tmp_path: Path, splits: object) -> Dataset:
    folder = make_dataset(tmp_path, labeled=6, unlabeled=0, test=0, shape=TINY, order=False)
    for number, name in enumerate(PAIRS):
        (folder / f"imagesTr/case_{number:02d}_0000.nii.gz").rename(folder / f"imagesTr/{name}_0000.nii.gz")
        (folder / f"labelsTr/case_{number:02d}.nii.gz").rename(folder / f"labelsTr/{name}.nii.gz")
    (folder / "splits.json").write_text(json.dumps(splits))
    return Dataset.open(folder)
