"""``train`` and ``predict`` from end to end, on a dataset of a second and two iterations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from semiseg.cli import main

SMALL = ["--labeled", "2", "--iterations", "2", "--device", "cpu", "-j", "0", "-q"]


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder made by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    assert main(["train", str(tiny), *SMALL, "--run", str(folder), "--set", "plan.patch=[16,16,16]"]) == 0
    return folder


def test_flags_reach_the_run(trained: Path) -> None:
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert (config["data"]["labeled"], config["train"]["iterations"]) == (2, 2)
    assert json.loads((trained / "plan.json").read_text())["patch"] == [16, 16, 16]
    assert (trained / "checkpoints" / "final.ckpt").is_file()


def test_an_existing_run_is_not_touched(cli: Callable, tiny: Path, trained: Path) -> None:
    before = (trained / "manifest.json").read_bytes()
    answer = cli("train", tiny, *SMALL, "--run", trained)
    assert answer.code == 2
    assert all(flag in answer.err for flag in ("--resume", "--overwrite", "--run"))
    assert (trained / "manifest.json").read_bytes() == before


def test_resuming_a_finished_run_says_so(cli: Callable, tiny: Path, trained: Path) -> None:
    same = ["--set", "plan.patch=[16,16,16]", "--run", trained]
    answer = cli("train", tiny, *SMALL, *same, "--resume", "--json")
    assert answer.code == 0, answer.err
    assert (answer.json["finished"], answer.json["run"]) == (True, str(trained))
    assert answer.json["manifest"]["method"] == "fixmatch"


def test_dry_run_shows_everything_and_writes_nothing(
    cli: Callable, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cli("train", tiny, *SMALL, "--method", "supervised", "--dry-run")
    assert answer.code == 0
    for word in ("2 labeled, 5 unlabeled", "patch:", "memory", "one iteration fits", "supervised__"):
        assert word in answer.out
    assert list(tmp_path.iterdir()) == []


def test_runs_go_where_the_environment_says(
    cli: Callable, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def train(dataset: str, config: Any, **options: Any) -> SimpleNamespace:
        seen.update(options, config=config)
        return SimpleNamespace(folder=tmp_path, manifest={}, metrics=[], finished=True, score=None)

    monkeypatch.setattr("semiseg.training.train.train", train)
    monkeypatch.setenv("SEMISEG_RUNS", str(tmp_path / "all"))
    monkeypatch.setenv("SEMISEG_WORKERS", "3")
    monkeypatch.setenv("SEMISEG_DEVICE", "cuda:1")
    assert (
        cli("train", tiny, "--seed", "5", "--max-time", "1.5", "--devices", "2", "--protocol", "la").code == 0
    )
    assert (seen["runs"], seen["workers"], seen["device"], seen["devices"]) == (
        tmp_path / "all",
        3,
        "cuda:1",
        2,
    )
    assert (seen["config"].train.seed, seen["config"].train.max_time, seen["config"].recipe) == (5, 1.5, "la")
    assert cli("train", tiny, "--runs", tmp_path / "b", "-j", "1", "--device", "cpu").code == 0
    assert (seen["runs"], seen["workers"], seen["device"]) == (tmp_path / "b", 1, "cpu")


def test_missing_device_is_exit_4(cli: Callable, tiny: Path) -> None:
    answer = cli("train", tiny, "--device", "cuda:99", "--dry-run")
    assert answer.code == 4
    assert "doctor" in answer.err


# --- predict


def test_predict_a_folder_then_skip_it(cli: Callable, tiny: Path, trained: Path, tmp_path: Path) -> None:
    flags = ["-i", tiny / "imagesTs", "-o", tmp_path / "out", "-m", trained, "--device", "cpu"]
    first = cli("predict", *flags, "--set", "inference.overlap=0.25", "--json")
    assert first.code == 0
    assert first.json["counts"] == {"done": 2, "skipped": 0, "failed": 0}
    assert first.json["options"]["overlap"] == 0.25
    assert (tmp_path / "out" / "ts_00.nii.gz").is_file()
    again = cli("predict", *flags, "--set", "inference.overlap=0.25")
    assert (again.code, "2 already there" in again.out) == (0, True)


def test_one_bad_scan_is_exit_5(cli: Callable, tiny: Path, trained: Path, tmp_path: Path) -> None:
    scans = Path(shutil.copytree(tiny / "imagesTs", tmp_path / "scans"))
    (scans / "ts_01_0000.nii.gz").write_bytes(b"broken")
    answer = cli("predict", "-i", scans, "-o", tmp_path / "out", "-m", trained, "--device", "cpu", "--json")
    assert answer.code == 5
    assert answer.json["details"]["counts"] == {"done": 1, "skipped": 0, "failed": 1}
    assert "ts_01" in answer.json["message"]


def test_dry_run_lists_the_scans(cli: Callable, tiny: Path, trained: Path, tmp_path: Path) -> None:
    answer = cli("predict", "-i", tiny, "-o", tmp_path / "out", "-m", trained, "--dry-run", "--device", "cpu")
    assert [line.split()[0] for line in answer.out.splitlines()] == ["ts_00", "ts_01", "2"]
    assert not (tmp_path / "out").exists()


def test_models_are_found_under_the_runs_root(
    cli: Callable, tiny: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMISEG_RUNS", str(trained.parent))
    answer = cli(
        "predict", "-i", tiny, "-o", tmp_path / "out", "-m", trained.name, "--dry-run", "--device", "cpu"
    )
    assert answer.code == 0


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--set", "train.seed=1"], "settings of `inference` only"),
        (["--set", "inference.overlapp=0.1"], "inference.overlap"),
        (["--quality", "bset"], "'best'"),
        (["-m", "nowhere"], "no model at nowhere"),
    ],
)
def test_wrong_use_of_predict(
    cli: Callable, tiny: Path, trained: Path, tmp_path: Path, flags: list[str], word: str
) -> None:
    answer = cli("predict", "-i", tiny, "-o", tmp_path / "out", "-m", trained, "--device", "cpu", *flags)
    assert (answer.code, word in answer.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["train", "--fold", "x"], "number from 0 or `all`"),
        (["train", "--fold", "-1"], "number from 0 or `all`"),
        (["train", "--fold", "all", "--devices", "2"], "exclude each other"),
        (["train", "--fold", "7", "--dry-run"], "fold 7"),
        (["split", "--folds", "9"], "9 folds of 3 labeled cases"),
        (["split", "--val", "2", "--overwrite"], "share of 2"),
        (["split", "--fold", "5"], "--folds"),
    ],
)
def test_folds_that_cannot_be_meant(cli: Callable, tiny: Path, arguments: list[str], word: str) -> None:
    answer = cli(arguments[0], tiny, *arguments[1:])
    assert (answer.code, word in answer.err) == (2, True), answer.err
    assert "cross_validation" not in (tiny / "splits.json").read_text()


def test_folds_are_listed_and_the_next_command_is_named(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "My data"))
    answer = cli("split", folder)
    assert answer.code == 0
    assert "fold 0: 2 labeled, 1 held out" in answer.out
    assert f"semiseg train '{folder}' --fold all" in answer.out
    assert cli("split", folder, "--json", "--overwrite").json["patients"] == 3
