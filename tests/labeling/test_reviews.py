"""Figures of reviews: corrections, time, agreement of people, blinded preferences."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.factories import make_dataset

from semiseg.dataset.case import case_header
from semiseg.dataset.ledger import Entry
from semiseg.errors import SemisegError
from semiseg.images.grid import Volume
from semiseg.labeling.reviews import lines, of_runs, preferences, reviewed
from semiseg.labeling.store import Labels, Origin

RUN = "round-001"


def test_each_scan_counts_once_and_with_its_first_correction() -> None:
    entries = [
        Entry("a", "label", 1, "corrected", run=RUN, agreement=0.8, seconds=60),
        Entry("a", "label", 2, "corrected", run=RUN, agreement=1.0, seconds=5),
        Entry("b", "label", 1, "corrected", run=RUN, agreement=0.6, seconds=100),
        Entry("c", "label", 1, "accepted", run=RUN),
        Entry("b", "label", 2, "accepted", run=RUN),
        Entry("d", "label", 1, "drawn"),
        Entry("e", "conflict", 2, "corrected", run=RUN, agreement=0.1),
    ]
    told = of_runs(entries)[RUN]
    assert told == {
        "accepted": 1,
        "corrected": 2,
        "share_corrected": 0.6667,
        "dice": 0.7,
        "median_seconds": 80,
    }


def test_two_people_who_labeled_one_scan_are_compared(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=2, shape=(12, 12, 12))
    with pytest.raises(SemisegError, match="nothing was reviewed"):
        reviewed(folder)
    labels = Labels(folder)
    grid = case_header(labels.cases["un_00"]).grid
    first = np.zeros(grid.shape, np.uint8)
    first[2:6, 2:6, 2:6] = 1
    second = np.zeros_like(first)
    second[4:8, 2:6, 2:6] = 1  # half of it: Dice 0.5
    anna = Origin("drawn", by="anna", seconds=90)
    labels.save("un_00", Volume(first, grid), base=0, origin=anna)
    with pytest.raises(SemisegError):  # kept as a conflict: drawn without seeing the other
        labels.save("un_00", Volume(second, grid), base=0, origin=replace(anna, by="bob", seconds=30))
    labels.save("un_01", Volume(first, grid), base=0, origin=replace(anna, source="accepted", run=RUN))
    found = reviewed(folder)
    pair = {"a": "anna", "b": "bob", "cases": 1, "dice": 0.5, "per_case": {"un_00": 0.5}}
    assert found["annotators"] == [pair]
    assert found["median_seconds"]["drawn"] == 60
    text = "\n".join(lines(found))
    assert "anna and bob: Dice 0.500 on 1 scan" in text
    assert "1 prediction reviewed, 0 corrected" in text
    json.dumps(found)


def test_preferences_count_scans_once_by_majority_and_test_the_signs() -> None:
    def row(case: str, by: str, preferred: str, left: str = "x", right: str = "y") -> dict[str, str]:
        return {"case": case, "by": by, "left": left, "right": right, "preferred": preferred}

    rows = [row(f"c{i}", "anna", "x") for i in range(6)]
    rows += [row("c0", "bob", "x", "y", "x"), row("c1", "bob", "y"), row("c6", "anna", "")]
    (found,) = preferences(rows)
    assert (found["prefer_a"], found["prefer_b"], found["alike"], found["cases"]) == (5, 0, 2, 7)
    assert found["p"] == pytest.approx(2 / 2**5)
    assert (found["agree"], found["annotators"]) == (0.5, 2)


def test_a_table_without_who_judged_says_nothing(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=1, test=0)
    (folder / "studio").mkdir()
    (folder / "studio" / "reviews.csv").write_text("case,left,right\ncase_00,x,y\n")
    with pytest.raises(SemisegError, match="nothing was reviewed yet"):
        reviewed(folder)
