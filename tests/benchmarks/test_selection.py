"""The table of best and last scores on test cases: its data set, and its arithmetic."""

from __future__ import annotations

import importlib

import pytest

from semiseg.dataset.dataset import Dataset
from tests.conftest import REPOSITORY
from tests.factories import make_dataset


@pytest.fixture
def selection(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    return importlib.import_module("selection")


def test_test_cases_are_watched_and_neither_labeled_nor_unlabeled(selection, tmp_path):
    folder = make_dataset(tmp_path)
    before = Dataset.open(folder).split(labeled=2)
    split = Dataset.open(selection.watched(Dataset.open(folder), tmp_path / "Dataset902_Watched")).split(
        labeled=2
    )
    assert [case.id for case in split.val] == [case.id for case in before.test] != []
    assert [case.id for case in split.labeled] == [case.id for case in before.labeled]
    assert [case.id for case in split.unlabeled] == [case.id for case in before.unlabeled]
    assert split.test == ()


def test_what_choosing_gains_is_the_best_score_less_the_last(selection):
    found = {"supervised": {"0": {"2": (0.5, 1.0), "4": (0.75, 2.0), "6": (0.7, 3.0)}}}
    assert "| supervised | 0 | 0.7000 | 0.7500 | 4 | +0.0500 |" in selection.selection(found)


def test_a_curve_counts_the_minutes_of_training_alone(selection, tmp_path):
    head = f"event,step,iterations_per_second,{selection.DICE}"
    rows = [head, "stepped,30,0.5,", "stepped,60,1,", "validated,60,,0.6"]
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n")
    assert selection.curve(tmp_path) == {"60": (0.6, 1.5)}
