"""A run that knows what its doubt is worth: by its validation list, or by folds of its labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.factories import make_dataset

import semiseg
from semiseg.dataset.case import PatientRule
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.split_file import SplitFile
from semiseg.errors import SemisegError
from semiseg.prediction.calibration import FILE, Calibration, Known
from semiseg.prediction.doubt import SCORE
from semiseg.runs.run import Run
from semiseg.settings.config import Config
from semiseg.training.calibrate import calibrate, folds_of
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


def test_folds_keep_patients_together() -> None:
    names = [f"p{p}_{scan}" for p in range(3) for scan in range(2)]
    folds = folds_of(names, PatientRule.parse(2))  # type: ignore[arg-type]
    assert folds == [["p0_0", "p0_1"], ["p1_0", "p1_1"], ["p2_0", "p2_1"]]
    assert len(folds_of([str(i) for i in range(12)], None)) == 5
    with pytest.raises(SemisegError, match="1 labeled patient"):
        folds_of(names[:2], PatientRule.parse(2))  # type: ignore[arg-type]


def test_folds_of_the_labels_calibrate_a_run_without_a_validation_list(
    trained: tuple[Path, Run], tmp_path: Path
) -> None:
    folder, run = trained
    (run.folder / FILE).unlink(missing_ok=True)
    split = {**run.split, "labeled": [f"case_{i:02d}" for i in range(5)], "val": []}
    (run.folder / "splits.json").write_text(json.dumps(split))
    asked: list[tuple[list[str], list[str], str | None]] = []

    def train(dataset: Dataset, config: Config, place: Path, plan: Path) -> Run:
        """Stands for a training, whose validation leaves a calibration file."""
        lists = dataset.split(fold=config.data.fold)
        held = [case.id for case in lists.val]
        asked.append(([case.id for case in lists.labeled], held, config.select))
        known = [Known(name, 0.8, {SCORE: 0.1 * len(name)}) for name in held]
        Calibration(known, "validation list").save(place / FILE)
        return Run(place)

    dataset = replace(Dataset.open(folder), splits=SplitFile("none"))
    calibrate(run, dataset, train)
    found = Calibration.load(run.folder / FILE)
    assert found is not None
    assert sorted(one.case for one in found.known) == split["labeled"]
    assert "5 folds of 5 labels" in found.source
    for labeled, held, select in asked:
        assert len(held) == 1
        assert set(labeled) == set(split["labeled"]) - set(held)
        assert select == "last"  # nothing is chosen on what is left out
    calibrate(run, dataset, lambda *_: pytest.fail("it is calibrated already"))


def test_what_a_run_holds_out_was_not_learned_before(trained: tuple[Path, Run]) -> None:
    folder, run = trained
    learned = run.split["labeled"]
    others = [f"case_{i:02d}" for i in range(6) if f"case_{i:02d}" not in learned]
    (folder / "splits.json").write_text(json.dumps({"order": others, "val": learned[:1]}))
    with pytest.raises(SemisegError, match=f"has learned from {learned[0]}, which is held out"):
        require_unseen(run.folder, Dataset.open(folder).split())
