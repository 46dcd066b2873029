"""Folds of the labeled cases: held out once, patients whole, published lists untouched."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest
from tests.dataset.test_split import PAIRS, cases, dataset, ids, patients

import semiseg
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.folds import CaseIds, share_of, with_folds
from semiseg.dataset.split_file import SplitFile
from semiseg.dataset.write_split import keep_folds
from semiseg.errors import DataError, UsageError


def content(opened: Dataset) -> dict[str, object]:
    return json.loads((opened.root / "splits.json").read_text())


def test_every_labeled_case_is_held_out_once_and_never_labeled_there(tmp_path: Path) -> None:
    opened = dataset(tmp_path, labeled=7, unlabeled=2)
    made = semiseg.split(opened.root, folds=3)
    assert sorted(chain.from_iterable(fold.held_out for fold in made.folds)) == cases(*range(7))
    assert sorted(len(fold.held_out) for fold in made.folds) == [2, 2, 3]
    read = Dataset.open(opened.root)
    for number in range(3):
        split = read.split(fold=number, folds=3)
        assert {*ids(split.labeled), *ids(split.held_out)} == {*cases(*range(7))}
        assert ids(split.unlabeled) == ["un_00", "un_01"]
        assert ids(split.held_out) == list(made.folds[number].held_out)
        assert split.as_dict()["held_out"] == ids(split.held_out)
    few = read.split(2, 0, folds=3)
    assert {*ids(few.unlabeled)} == {"un_00", "un_01", *cases(*range(7))} - {
        *ids(few.labeled),
        *ids(few.held_out),
    }
    whole = read.split()
    assert (len(whole.labeled), whole.held_out) == (7, ())
    assert whole.sha256() == opened.split().sha256()


def test_a_patient_is_held_out_whole_also_where_only_names_say_so(tmp_path: Path) -> None:
    opened = patients(tmp_path, {})
    (opened.root / "splits.json").unlink()
    made = semiseg.split(opened.root)
    assert (len(made.folds), made.patients) == (3, 3)
    for fold in made.folds:
        assert len({case[:10] for case in fold.held_out}) == 1
        assert not {case[:10] for case in fold.held_out} & {case[:10] for case in fold.labeled}
    rule = content(opened)["group_by_patient"]
    assert Dataset.open(opened.root).splits.patients.patient("Patient001_x") == "Patient001"
    assert "patient" in rule
    assert semiseg.check(opened.root).errors == []


def test_published_lists_stay_as_they_are(tmp_path: Path) -> None:
    lists = {"order": PAIRS[:4], "val": PAIRS[4:], "group_by_patient": "first 10 characters", "note": "mine"}
    opened = patients(tmp_path, lists)
    made = semiseg.split(opened.root)
    after = content(opened)
    assert {key: after[key] for key in lists} == lists
    for fold in made.folds:
        assert fold.val == tuple(PAIRS[4:])
        assert fold.labeled == tuple(case for case in PAIRS[:4] if case not in fold.held_out)


def test_val_alone_makes_a_validation_list_and_with_folds_one_in_each(tmp_path: Path) -> None:
    opened = dataset(tmp_path, labeled=10)
    made = semiseg.split(opened.root, val=0.2)
    assert (len(made.val), made.folds) == (2, ())
    split = Dataset.open(opened.root).split()
    assert sorted(ids(split.val)) == sorted(made.val)
    assert len(split.labeled) == 8
    with pytest.raises(UsageError, match="lists already: val"):
        semiseg.split(opened.root, folds=2, val=0.2)
    nested = semiseg.split(opened.root, folds=2, val=0.4, overwrite=True)
    assert "val" not in content(opened)
    for fold in nested.folds:
        assert [len(part) for part in (fold.labeled, fold.val, fold.held_out)] == [3, 2, 5]
        assert not {*fold.labeled} & {*fold.val}


def test_lists_are_replaced_only_when_asked(tmp_path: Path) -> None:
    opened = dataset(tmp_path, {"folds": [{"labeled": cases(0, 1, 2), "val": cases(3)}]})
    with pytest.raises(UsageError, match="lists already: folds") as caught:
        semiseg.split(opened.root)
    assert "--overwrite" in caught.value.hint
    semiseg.split(opened.root, folds=4, overwrite=True)
    assert set(content(opened)) == {"cross_validation", "seed"}
    with pytest.raises(UsageError, match="lists already: cross_validation"):
        semiseg.split(opened.root, folds=2)
    with pytest.raises(UsageError, match=r"2 folds, but splits\.json has 4"):
        Dataset.open(opened.root).split(fold=0, folds=2)


def test_unlabeled_scans_of_a_held_out_patient_are_left_out(tmp_path: Path) -> None:
    ids = CaseIds(tuple(PAIRS), ("patient001_frame03", "patient009_frame01"))
    made = with_folds(None, ids, 3)
    assert made.patients is None  # it would refuse every list: patient 1 is labeled and unlabeled
    for fold in made.cross_validation:
        held = any(case.startswith("patient001") for case in fold.held_out)
        assert (fold.unlabeled == ("patient009_frame01",)) is held


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"folds": 5}, "5 folds of 4 labeled cases"),
        ({"val": 1.5}, "share of 1.5"),
        ({"group": "case"}, "--group case is not a valid rule"),
        ({"group": r"((?:\w+)*!)"}, "may take years to match"),
        ({"group": "(a{99999999999999})"}, "--group (a{99999999999999}) is not a valid rule"),
        ({"group": "(patient)"}, "does not fit"),
        ({"group": 99}, "does not fit"),
    ],
)
def test_what_cannot_be_split(tmp_path: Path, options: dict[str, object], wanted: str) -> None:
    opened = dataset(tmp_path)
    with pytest.raises(UsageError) as caught:
        semiseg.split(opened.root, **options)
    assert wanted in caught.value.message
    assert not (opened.root / "splits.json").exists()


def test_one_labeled_case_cannot_be_folded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2 labeled cases") as caught:
        dataset(tmp_path, labeled=1).fold_count()
    assert "without --fold" in caught.value.hint


def test_folds_are_a_function_of_seed_and_names(tmp_path: Path) -> None:
    names = CaseIds(tuple(cases(*range(9))))
    first, again, other = (with_folds(None, names, 3, seed=seed).cross_validation for seed in (0, 0, 1))
    assert first == again != other
    assert with_folds(SplitFile("x", cross_validation=first), names, 3).cross_validation == first


def test_folds_that_leak_or_score_nothing_are_faults(tmp_path: Path) -> None:
    both = [{"labeled": cases(0, 1), "held_out": cases(1, 2)}]
    opened = dataset(tmp_path, {"cross_validation": both})
    with pytest.raises(DataError, match="case_01 in both labeled and held_out"):
        opened.split(fold=0, folds=1)
    assert "case_01" in semiseg.check(opened.root).as_text()
    nothing = dataset(tmp_path / "b", {"cross_validation": [{"labeled": cases(0)}]})
    with pytest.raises(DataError, match="without held_out"):
        nothing.split()


def test_a_case_that_was_labeled_after_the_folds_were_made_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = dataset(tmp_path, labeled=4, unlabeled=0)
    semiseg.split(opened.root, folds=2)
    for part, end in (("imagesTr", "_0000"), ("labelsTr", "")):
        old = opened.root / part / f"case_00{end}.nii.gz"
        old.with_name(f"new{end}.nii.gz").write_bytes(old.read_bytes())
    later = Dataset.open(opened.root)
    assert ids(later.split(fold=0, folds=2).unlabeled) == ["new"]
    keep_folds(later, 2)
    assert "1 labeled case in no fold" in caplog.text
    assert "IN_NO_FOLD" in {problem.code for problem in semiseg.check(opened.root).problems}


def test_a_share_takes_whole_groups_and_leaves_one() -> None:
    assert share_of([["a", "b"], ["c", "d"], ["e"]], 0.9) == ["a", "b", "c", "d"]
    assert share_of([["a", "b"], ["c"]], 0.01) == ["a", "b"]
    with pytest.raises(UsageError, match="nothing to learn from"):
        share_of([["a"]], 0.5)
