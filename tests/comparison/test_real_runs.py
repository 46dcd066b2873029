"""The whole way once: two methods trained for two iterations, predicted, scored and compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.comparison.runs import manifest
from tests.factories import make_dataset

import semiseg
from semiseg.comparison.compare import compare
from semiseg.comparison.read import read_run
from semiseg.runs.run import Run

FLAGS = {
    "plan.patch": (16, 16, 16),
    "plan.features": (4, 8),
    "plan.batch": 2,
    "train.precision": "32",
    "inference.overlap": 0.0,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("real")
    data = make_dataset(root)
    for method, seed in (("supervised", 0), ("supervised", 1), ("mean_teacher", 0)):
        run = semiseg.train(
            data,
            method=method,
            labeled=2,
            seed=seed,
            iterations=2,
            settings=FLAGS,
            runs=root / "runs",
            device="cpu",
            workers=0,
        )
        semiseg.predict(data / "imagesTs", run.folder / "test", run.folder, device="cpu")
        semiseg.evaluate(data / "labelsTs", run.folder / "test", dataset=data).save(run.folder / "test")
    return root / "runs"


def test_real_runs_are_compared(runs: Path) -> None:
    found = semiseg.compare(runs)
    (group,) = found.groups
    assert [(arm.name, arm.seeds) for arm in group.arms] == [("supervised", (0, 1)), ("mean_teacher", (0,))]
    assert (group.budget, group.cases) == ("2 labeled", ("ts_00", "ts_01"))
    evaluated = [
        json.loads(path.read_text()) for path in sorted(runs.rglob("supervised*/*/test/summary.json"))
    ]
    means = [summary["foreground_mean"]["Dice"] for summary in evaluated]
    assert group.summary("supervised", "Dice").mean == pytest.approx(sum(means) / 2)
    cost = group.arm("mean_teacher").cost
    assert cost.step_seconds > 0
    assert cost.memory_gb > 0.05
    assert cost.parameters > 100
    assert not any("trained with different" in line for line in group.notices)
    assert [table.title.split(",")[0] for table in found.tables()] == ["Dataset001_Tiny", "Cost"]


def test_a_plan_that_was_changed_is_told_and_the_trained_one_compared(
    runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = next(runs.rglob("labeled-2*"))
    copy = Path(shutil.copytree(folder, tmp_path / folder.name))
    trained = Run(folder).plan
    trained.model_copy(update={"reasons": {"batch": "other words"}}).save(copy / "plan.json")
    assert read_run(copy).plan["batch"] == trained.batch
    assert not caplog.records
    trained.model_copy(update={"batch": 7}).save(copy / "plan.json")
    assert read_run(copy).plan["batch"] == trained.batch
    assert "plan.json was changed after the training (batch: 7 there" in caplog.text
    trained.model_copy(update={"spacing": (9.0, 9.0, 9.0)}).save(copy / "plan.json")
    assert read_run(copy).plan["spacing"] == list(trained.spacing)
    assert "plan.json was changed after the training (spacing: (9.0, 9.0, 9.0) there" in caplog.text
    shutil.rmtree(copy / "checkpoints")
    assert read_run(copy).plan["spacing"] == [9.0, 9.0, 9.0]
    assert "plan.json was changed after the training, and is used: " in caplog.text


def test_the_factory_of_these_tests_writes_what_a_run_writes(runs: Path) -> None:
    real = Run(next(runs.rglob("labeled-2*"))).manifest
    assert set(manifest()) <= set(real)
    assert set(manifest()["sessions"][0]) <= set(real["sessions"][0])


def test_a_run_that_was_not_scored_is_missing_until_it_is(runs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    (victim,) = copy.glob("*/mean_teacher*/*")
    (victim / "test" / "summary.json").unlink()
    found = compare([copy])
    (cell,) = found.groups[0].missing
    assert cell.reason == "predicted, but not scored"
    assert found.groups[0].ranking.why_not == "1 to rank; the test needs 3"
