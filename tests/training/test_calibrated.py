"""A run that knows what its doubt is worth: by its validation list, or by folds of its labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.factories import make_dataset

import semiseg
from semiseg.dataset.dataset import Dataset
from semiseg.errors import SemisegError
from semiseg.prediction.doubt import FILE, Calibration
from semiseg.runs.events import Started
from semiseg.runs.run import Run
from semiseg.training.start_from import require_unseen

SMALL: dict[str, Any] = {"plan.patch": [16, 16, 16], "plan.features": [4, 8]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A run with a validation list of four."""
    place = tmp_path_factory.mktemp("warm")
    folder = make_dataset(place, labeled=6, unlabeled=1, test=0, shape=(16, 16, 16))
    names = [f"case_{i:02d}" for i in range(6)]
    (folder / "splits.json").write_text(json.dumps({"order": names[:2], "val": names[2:]}))
    run = semiseg.train(
        folder,
        method="mean_teacher",
        iterations=2,
        settings=SMALL,
        run=place / "run",
        device="cpu",
        workers=0,
    )
    return folder, run


def test_a_validation_list_calibrates_the_run(trained: tuple[Path, Run], tmp_path: Path) -> None:
    folder, run = trained
    found = Calibration.load(run.folder / FILE)
    assert found is not None
    assert (len(found.known), found.usable) == (4, True)
    assert "validation list" in found.source
    semiseg.predict(folder / "imagesUn", tmp_path, run.folder, device="cpu", workers=0)
    record = json.loads((tmp_path / "un_00.json").read_text())
    expected = record["expected_dice"]
    assert 0 <= expected["low"] <= expected["value"] <= expected["high"] <= 1
    assert expected["coverage"] == pytest.approx(0.8)


def test_folds_of_the_labels_calibrate_a_run_without_a_validation_list(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=5, unlabeled=1, test=0, shape=(8, 8, 8))
    names = [f"case_{i:02d}" for i in range(5)]
    (folder / "splits.json").write_text(json.dumps({"order": names, "val": []}))
    lists = (folder / "splits.json").read_text()
    begun: list[Started] = []
    given: dict[str, Any] = {
        "method": "supervised",
        "labeled": 4,
        "iterations": 1,
        "settings": SMALL | {"plan.patch": [8, 8, 8]},
        "run": tmp_path / "run",
        "device": "cpu",
        "workers": 0,
        "listeners": [lambda event: begun.append(event) if isinstance(event, Started) else None],
    }
    run = semiseg.train(folder, **given, calibrate=True)
    assert len(begun) == 5
    found = Calibration.load(run.folder / FILE)
    assert found is not None
    assert found.usable
    assert sorted(one.case for one in found.known) == names[:4]
    assert "4 folds of 4 labels" in found.source
    for fold in sorted((run.folder / "calibration").iterdir()):
        split, config = Run(fold).split, Run(fold).config
        assert len(split["held_out"]) == 1
        assert sorted([*split["labeled"], *split["held_out"]]) == names[:4]
        assert sorted(split["unlabeled"]) == ["case_04", "un_00"]
        assert (split["val"], config.select) == ([], "last")  # nothing is chosen on what is left out
    assert (folder / "splits.json").read_text() == lists
    semiseg.train(folder, **given, calibrate=True, resume=True)
    assert len(begun) == 5  # it is calibrated already


def test_one_label_cannot_be_split_into_folds(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=1, test=0, shape=(8, 8, 8))
    with pytest.raises(SemisegError, match="folds need at least 2 labeled cases") as caught:
        semiseg.train(folder, run=tmp_path / "run", device="cpu", workers=0, calibrate=True)
    assert "--calibrate" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_what_a_run_holds_out_was_not_learned_before(trained: tuple[Path, Run]) -> None:
    folder, run = trained
    learned = run.split["labeled"]
    others = [f"case_{i:02d}" for i in range(6) if f"case_{i:02d}" not in learned]
    (folder / "splits.json").write_text(json.dumps({"order": others, "val": learned[:1]}))
    with pytest.raises(SemisegError, match=f"has learned from {learned[0]}, which is held out"):
        require_unseen(run.folder, Dataset.open(folder).split())
