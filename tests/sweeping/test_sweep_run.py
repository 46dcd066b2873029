"""Running a sweep in this process: what is done stays done, what is broken stays alone, what changed runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.sweeps import SETTINGS, entries, run_here, tiny_dataset, tiny_spec

from semiseg import train
from semiseg.errors import DeviceError, Interrupted, PartialError
from semiseg.runs.run import load_run
from semiseg.sweeping import worker as cell_module
from semiseg.sweeping.ledger import Ledger

BROKEN = {"method": "mean_teacher", "name": "odd", "network": "denseunet"}
"""A 2D network on 3D scans."""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    """A sweep with a broken cell between two good ones, each of which was run once."""
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    spec = tiny_spec(data, methods=["supervised", BROKEN], bounds=False)
    outcome = run_here(spec, folder)
    problem = outcome.problem("again")
    assert isinstance(problem, PartialError)
    assert problem.exit_code == 5
    assert "1 of 2 cells are not done (1 failed); Dataset001_Tiny odd labeled 1 seed 0: " in problem.message
    return folder


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "sweep")


def states(folder: Path) -> dict[str, str]:
    return {entry.cell.variant: entry.state for entry in entries(folder).values()}


def attempts(folder: Path) -> dict[str, int]:
    return {entry.cell.variant: entry.attempts for entry in entries(folder).values()}


def test_a_broken_cell_stays_alone(finished):
    assert states(finished) == {"supervised": "done", "odd": "failed"}
    snapshot = json.loads((finished / "sweep.json").read_text())
    good, bad = snapshot["cells"]
    assert (good["state"], good["error"], good["attempts"]) == ("done", None, 1)
    assert set(bad["error"]) == {"code", "message", "hint"}
    assert bad["error"]["message"]
    assert (snapshot["version"], snapshot["name"], snapshot["score"]) == (1, "tiny", "test")
    scores = finished / good["scores"]
    assert {path.name for path in scores.iterdir()} >= {"summary.json", "metrics.csv", "ts_00.nii.gz"}
    mean = json.loads((scores / "summary.json").read_text())["foreground_mean"]["Dice"]
    assert good["result"]["Dice"] == pytest.approx(mean)
    assert load_run(finished / good["run"]).finished


def test_finished_cells_are_not_run_again(folder, data):
    spec = tiny_spec(data, methods=["supervised", BROKEN], bounds=False)
    again = run_here(spec, folder)
    assert attempts(folder) == {"supervised": 1, "odd": 1}, "nor are failed ones"
    assert again.problem() is not None
    run_here(spec, folder, retry_failed=True)
    assert attempts(folder) == {"supervised": 1, "odd": 2}


def test_an_edited_specification_runs_what_changed(folder, data):
    kept = json.loads((folder / "sweep.json").read_text())["cells"][0]
    spec = tiny_spec(data, methods=["supervised"], bounds=False, labeled=[1, 2])
    assert run_here(spec, folder).problem() is None
    assert attempts(folder) == {"supervised": 1, "odd": 1}
    longer = run_here({**spec, "iterations": 3, "labeled": 1}, folder)
    assert longer.problem() is None
    found = [entry for entry in Ledger(folder).everything().values() if entry.cell.variant == "supervised"]
    assert len(found) == 3
    places = {entry.cell.iterations: entry.cell.place for entry in found if entry.cell.budget == "1"}
    assert places[2] == kept["run"]
    assert places[3].startswith(f"{kept['run']}_"), "the run with other settings is left alone"
    back = run_here({**spec, "labeled": 1}, folder)
    assert back.problem() is None
    assert [cell["attempts"] for cell in back.content["cells"]] == [1]


def test_another_convention_trains_nothing(folder, data, monkeypatch):
    spec = tiny_spec(data, methods=["supervised"], bounds=False)
    before = json.loads((folder / "sweep.json").read_text())["cells"][0]
    weights = (folder / before["run"] / "checkpoints" / "final.ckpt").stat().st_mtime_ns
    other = run_here({**spec, "convention": "uamt"}, folder)
    cell = other.content["cells"][0]
    assert cell["run"] == before["run"]
    assert (folder / before["run"] / "checkpoints" / "final.ckpt").stat().st_mtime_ns == weights
    assert json.loads((folder / cell["scores"] / "summary.json").read_text())["convention"] == "uamt"
    back = run_here(spec, folder).content["cells"][0]
    assert json.loads((folder / back["scores"] / "summary.json").read_text())["convention"] == "semiseg"
    assert back["result"] == before["result"]


def test_lost_scores_are_made_again(folder, data):
    cell = json.loads((folder / "sweep.json").read_text())["cells"][0]
    shutil.rmtree(folder / cell["scores"])
    spec = tiny_spec(data, methods=["supervised"], bounds=False)
    assert run_here(spec, folder).content["cells"][0]["result"] == cell["result"]


def test_a_lost_ledger_loses_no_run(folder, data):
    cell = json.loads((folder / "sweep.json").read_text())["cells"][0]
    weights = (folder / cell["run"] / "checkpoints" / "final.ckpt").stat().st_mtime_ns
    shutil.rmtree(folder / "cells")
    outcome = run_here(tiny_spec(data, methods=["supervised"], bounds=False), folder)
    assert outcome.content["cells"][0]["run"] == cell["run"]
    assert (folder / cell["run"] / "checkpoints" / "final.ckpt").stat().st_mtime_ns == weights


def test_runs_made_by_hand_are_taken_over_where_they_fit(data, tmp_path):
    options = {"labeled": 1, "seed": 0, "method": "supervised", "settings": SETTINGS, "device": "cpu"}
    mine = train(data, **options, iterations=2, runs=tmp_path / "sweep", workers=0)
    other = train(data, **{**options, "seed": 1}, iterations=3, runs=tmp_path / "sweep", workers=0)
    spec = tiny_spec(data, methods=["supervised"], bounds=False, seeds=[0, 1])
    first, second = run_here(spec, tmp_path / "sweep").content["cells"]
    assert tmp_path / "sweep" / first["run"] == mine.folder
    assert len(mine.manifest["sessions"]) == 1
    assert second["run"].startswith(str(other.folder.relative_to(tmp_path / "sweep")) + "_")


def test_predictions_made_otherwise_are_made_anew(folder, data):
    cell = json.loads((folder / "sweep.json").read_text())["cells"][0]
    scores = folder / cell["scores"]
    record = json.loads((scores / "ts_00.json").read_text())
    record["options"]["overlap"] = 0.1
    (scores / "ts_00.json").write_text(json.dumps(record))
    (scores / "metrics.csv").unlink()
    outcome = run_here(tiny_spec(data, methods=["supervised"], bounds=False), folder)
    assert outcome.content["cells"][0]["result"] == cell["result"]
    assert json.loads((scores / "ts_00.json").read_text())["options"]["overlap"] == 0.5


def test_validation_scores(tmp_path):
    data = tiny_dataset(tmp_path)
    (data / "splits.json").write_text(json.dumps({"order": ["case_00"], "val": ["case_01"]}))
    spec = tiny_spec(data, methods=["supervised"], score="validation", bounds=False)
    outcome = run_here(spec, tmp_path / "sweep")
    assert outcome.problem() is None
    cell = outcome.content["cells"][0]
    rows = (tmp_path / "sweep" / cell["scores"] / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["case_01"]


class Deaths:
    """``run_cell`` whose first calls end with an error."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, *_, **__):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return {"Dice": 1.0}


def one_cell(data: Path, **more):
    return tiny_spec(data, methods=["supervised"], bounds=False, **more)


def test_passing_trouble_is_tried_again(data, tmp_path, monkeypatch):
    trouble = (MemoryError(), OSError(28, "No space left on device"))
    deaths = Deaths(*trouble)
    monkeypatch.setattr(cell_module, "run_cell", deaths)
    outcome = run_here(one_cell(data, retries=2), tmp_path / "sweep")
    assert outcome.problem() is None
    assert (deaths.calls, outcome.content["cells"][0]["attempts"]) == (3, 3)


def test_a_cell_that_keeps_dying_is_given_up_and_told(data, tmp_path, monkeypatch):
    deaths = Deaths(*[DeviceError("no room", code="OUT_OF_MEMORY") for _ in range(9)])
    monkeypatch.setattr(cell_module, "run_cell", deaths)
    outcome = run_here(one_cell(data, retries=1), tmp_path / "sweep")
    assert deaths.calls == 2
    problem = outcome.problem()
    assert "(1 dead)" in problem.message
    assert "no room" in problem.message
    assert outcome.content["cells"][0]["error"]["code"] == "OUT_OF_MEMORY"
    run_here(one_cell(data, retries=0), tmp_path / "sweep")
    assert deaths.calls == 3, "a new sweep tries dead cells again"


@pytest.mark.parametrize("error", [ValueError("a bug"), Interrupted("stopped"), KeyboardInterrupt()])
def test_other_ends(error, data, tmp_path, monkeypatch):
    deaths = Deaths(error)
    monkeypatch.setattr(cell_module, "run_cell", deaths)
    outcome = run_here(one_cell(data), tmp_path / "sweep")
    assert deaths.calls == 1
    if isinstance(error, ValueError):
        assert "ValueError: a bug" in outcome.problem().message
        return
    assert outcome.interrupted
    assert outcome.problem("again").exit_code == 130
    assert outcome.content["cells"][0]["state"] == "waiting"
    assert run_here(one_cell(data), tmp_path / "sweep").problem() is None


def test_a_sweep_folder_is_its_own_specification(folder):
    outcome = run_here(folder, folder)
    assert [cell["variant"] for cell in outcome.content["cells"]] == ["supervised", "odd"]
    assert attempts(folder) == {"supervised": 1, "odd": 1}


def test_a_damaged_entry_is_named(folder, data):
    path = next((folder / "cells").glob("*.json"))
    path.write_text("{}")
    with pytest.raises(Exception, match=path.name) as caught:
        run_here(tiny_spec(data), folder)
    assert caught.value.code == "BAD_LEDGER"
