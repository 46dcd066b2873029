"""What is found below a path: runs, sweeps, and everything that is missing, by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.comparison.runs import NAN, make_run, spread

from semiseg.comparison.read import collect, read_run
from semiseg.comparison.result import RunScores
from semiseg.errors import UsageError


def test_a_run_is_read_whole(tmp_path: Path) -> None:
    scores = {"c00": [0.9, NAN], "c01": [0.7, 0.5]}
    folder = make_run(tmp_path / "run", scores, method="mean_teacher", seed=3)
    run = read_run(folder)
    assert isinstance(run, RunScores)
    assert (run.dataset, run.method, run.network, run.recipe) == (
        "Dataset001_Tiny",
        "mean_teacher",
        "unet",
        "default",
    )
    assert (run.labeled, run.fold, run.seed, run.iterations) == (2, 0, 3, 20)
    assert (run.cases, run.classes, run.source) == (("c00", "c01"), ("structure 1", "structure 2"), "test")
    np.testing.assert_array_equal(run.scores["Dice"], [[0.9, NAN], [0.7, 0.5]])
    assert run.cost.step_seconds == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert (run.cost.minutes, run.cost.memory_gb, run.cost.parameters) == (1.5, 1.5, 1_000_000)
    assert run.curve[0]["loss"] == 0.1
    assert run.files["c00"] == ("labels/c00.nii.gz", None)
    assert run.finished


def test_memory_of_a_device_counts_before_that_of_the_process(tmp_path: Path) -> None:
    sessions = [{"step": 20, "reason": "finished", "seconds": 1, "memory_gb": 9.0, "device_memory_gb": 2.5}]
    run = read_run(make_run(tmp_path / "run", spread([0.9]), told={"sessions": sessions}))
    assert isinstance(run, RunScores)
    assert run.cost.memory_gb == 2.5


def test_runs_are_found_below_a_parent_and_count_once(tmp_path: Path) -> None:
    first = make_run(tmp_path / "runs" / "a" / "one", spread([0.9]))
    make_run(tmp_path / "runs" / "b" / "deep" / "two", spread([0.8]), method="mean_teacher")
    (tmp_path / "runs" / ".hidden").mkdir()
    shutil.copytree(first, tmp_path / "runs" / ".hidden" / "copy")
    found = collect([tmp_path / "runs", first, tmp_path / "runs" / "a"])
    assert sorted(run.method for run in found.runs) == ["mean_teacher", "supervised"]
    assert found.missing == ()


def test_test_scores_come_before_those_of_validation(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", spread([0.9]), place="validation")
    only = read_run(folder)
    assert isinstance(only, RunScores)
    assert only.source == "validation"
    shutil.copytree(folder / "validation", folder / "test")
    both = read_run(folder)
    assert isinstance(both, RunScores)
    assert (both.source, both.predictions) == ("test", folder / "test")


@pytest.mark.parametrize(
    ("sessions", "reason", "command"),
    [
        ([], "training is not finished (iteration 0)", "semiseg train Dataset001_Tiny --resume"),
        (
            [{"step": 7, "reason": "interrupted", "seconds": 1}],
            "training is not finished (iteration 7)",
            "semiseg train Dataset001_Tiny --resume",
        ),
    ],
)
def test_an_unfinished_run_is_missing(tmp_path: Path, sessions: list, reason: str, command: str) -> None:
    make_run(tmp_path / "runs" / "one", None, seed=4, told={"sessions": sessions})
    (cell,) = collect([tmp_path / "runs"]).missing
    assert (cell.name, cell.labeled, cell.seed, cell.reason) == ("supervised", 2, 4, reason)
    assert cell.command == command


def test_a_finished_run_without_scores_is_missing_with_the_command_that_scores_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", None)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "final.ckpt").touch()
    (cell,) = collect([folder]).missing
    assert cell.reason == "no scores"
    assert cell.command == (
        f"semiseg predict -i Dataset001_Tiny/imagesTs -o {folder}/test -m {folder} && "
        f"semiseg evaluate Dataset001_Tiny/labelsTs {folder}/test --dataset Dataset001_Tiny"
    )
    (folder / "test").mkdir()
    (folder / "test" / "c00.nii.gz").touch()
    (cell,) = collect([folder]).missing
    assert cell.reason == "predicted, but not scored"
    assert cell.command.startswith("semiseg evaluate ")


def test_cases_that_could_not_be_scored_are_told(tmp_path: Path) -> None:
    failed = {"c07": "no prediction in x"}
    run = read_run(make_run(tmp_path / "run", spread([0.9]), failed=failed, missing=("c07", "c08")))
    assert isinstance(run, RunScores)
    assert run.notices == ("c07: no prediction in x", "c08: no prediction")


def cell(number: int, **other: object) -> dict[str, object]:
    return {
        "id": str(number),
        "dataset": "Dataset001_Tiny",
        "variant": "strong",
        "method": "mean_teacher",
        "labeled": 2,
        "fold": 0,
        "seed": number,
        "bound": None,
        "run": f"run{number}",
        "scores": f"run{number}/elsewhere",
        "state": "done",
        "error": None,
        **other,
    }


def test_a_sweep_is_read_from_its_ledger(tmp_path: Path) -> None:
    """Whatever is in the ledger is in the comparison: as a run, or as a missing cell that says why."""
    sweep = tmp_path / "sweep"
    make_run(sweep / "run0", spread([0.9]), method="mean_teacher", place="elsewhere")
    make_run(sweep / "run9", spread([0.1]), method="mean_teacher", seed=9)  # of an older specification
    broken = {"code": "OUT_OF_MEMORY", "message": "out of memory", "hint": "less"}
    cells = [
        cell(0, bound="lower"),
        cell(1, state="failed", error=broken),
        cell(2, state="waiting", run=None, scores=None),
        cell(3),
    ]
    (sweep / "sweep.json").write_text(json.dumps({"version": 1, "cells": cells}))
    for path in (sweep, sweep / "sweep.json", tmp_path):
        found = collect([path])
        (run,) = found.runs
        assert (run.variant, run.bound, run.folder.name) == ("strong", "lower", "run0")
        assert [(m.seed, m.reason) for m in found.missing] == [
            (1, "failed: out of memory"),
            (2, "waiting"),
            (3, "done, but its run folder is gone"),
        ]
        assert all(str(sweep / "spec.yaml") in m.command for m in found.missing)


@pytest.mark.parametrize(
    ("content", "why"),
    [("{", "Expecting"), ('{"cells": [{"dataset": "x"}]}', "variant"), ("[]", "list indices")],
)
def test_a_damaged_ledger_is_told(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UsageError, match=why) as caught:
        collect([tmp_path])
    assert caught.value.code == "BAD_SWEEP"


def test_paths_without_runs_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        collect([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match=r"no folder below it has a config\.yaml") as caught:
        collect([tmp_path])
    assert caught.value.code == "NO_RUNS"


@pytest.mark.parametrize("name", ["summary.json", "metrics.csv"])
def test_damaged_scores_are_told(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path / "run", spread([0.9]))
    (folder / "test" / name).write_text(
        '{"labels": {}}' if name.endswith("json") else "case,class,Dice\nc,d,e\n"
    )
    with pytest.raises(UsageError, match=rf"cannot read the scores .*{name}") as caught:
        collect([folder])
    assert caught.value.code == "BAD_SCORES"


def test_an_infinite_distance_survives_the_way_through_files(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", spread([0.9]), hd95=float("inf"), convention="monai"))
    assert isinstance(run, RunScores)
    assert run.scores["HD95"][0, 0] == float("inf")
