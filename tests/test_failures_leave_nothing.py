"""Ctrl-C and full disks at any moment leave whole files or none; odd but valid paths just work."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semiseg.cli import main
from tests.bad_input.ground import SHAPE, TRAIN, make_ground, snapshot
from tests.factories import make_dataset

PREDICT = ("predict", "-i", "scans", "-o", "out", "-m", "model", "--device", "cpu")
EVALUATE = ("evaluate", "labels", "predictions", "-j", "1")


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "here"
    here.mkdir()
    make_ground(here)
    monkeypatch.chdir(here)
    monkeypatch.setenv("SEMISEG_HOME", str(tmp_path / "home"))
    return here


def raising(error: BaseException, after: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """``real`` for ``after`` calls, then the error."""
    calls = iter(range(10**6))

    def call(*given: Any, **named: Any) -> Any:
        if next(calls) >= after:
            raise error
        return real(*given, **named)

    return call


def spoil(monkeypatch: pytest.MonkeyPatch, target: str, error: BaseException, after: int) -> None:
    module, _, name = target.rpartition(".")
    real = getattr(sys.modules.get(module) or __import__(module, fromlist=[name]), name)
    monkeypatch.setattr(target, raising(error, after, real))


def leftovers(folder: Path) -> list[str]:
    """Files that are being written: none may stay."""
    return [str(p) for p in folder.rglob("*") if p.name.startswith(".") or ".tmp" in p.name]


MOMENTS = [
    (("check", "data", "-j", "1"), "semiseg.dataset.check.duplicates", 0),
    (("plan", "data", "-j", "0"), "semiseg.preparation.measure.load_case", 2),
    (TRAIN, "semiseg.preparation.measure.load_case", 2),
    (TRAIN, "semiseg.preparation.store.preprocess_image", 2),
    (TRAIN, "semiseg.preparation.store.preprocess_label", 1),
    (PREDICT, "semiseg.prediction.model.preprocess_image", 0),
    (PREDICT, "semiseg.prediction.members.read_member", 0),
    (EVALUATE, "semiseg.evaluation.evaluate.pair_files", 0),
    (("init", "scans", "-o", "made"), "semiseg.dataset.adopt.finish", 0),
]


@pytest.mark.parametrize(("argv", "target", "after"), MOMENTS)
def test_ctrl_c_before_there_is_a_result(
    argv: tuple[str, ...],
    target: str,
    after: int,
    ground: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(monkeypatch, target, KeyboardInterrupt(), after)
    before = snapshot(ground)
    assert main(list(argv)) == 130
    assert "interrupted" in capsys.readouterr().err
    made = set(snapshot(ground)) - set(before)
    # A prediction that was stopped says so in its report.
    assert made <= {"out", "out/prediction_report.json"}
    if "out/prediction_report.json" in made:
        assert json.loads(Path("out/prediction_report.json").read_text())["interrupted"] is True
    assert leftovers(ground.parent) == []


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "somewhere")


def test_a_full_disk_while_preprocessing(
    ground: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("semiseg.preparation.cache.CacheEntry.write", full)
    before = snapshot(ground)
    assert main(list(TRAIN)) == 1
    err = capsys.readouterr().err
    assert "case_00: No space left on device" in err
    assert "hint: " in err
    assert "Traceback" not in err
    assert snapshot(ground) == before
    assert leftovers(ground.parent) == []


def test_a_full_disk_while_predicting(
    ground: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("semiseg.images.write", full)
    assert main(list(PREDICT)) == 5
    err = capsys.readouterr().err
    assert "2 of 2 scans failed" in err
    assert "No space left on device" in err
    assert "Traceback" not in err
    assert [p.name for p in Path("out").iterdir()] == ["prediction_report.json"]
    assert leftovers(ground) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_of_a_real_training_can_be_resumed(ground: Path) -> None:
    argv = [*TRAIN, "--set", "train.iterations=100000", "--run", "my run"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "semiseg", *argv], stderr=subprocess.PIPE, text=True, env=environment
    )
    metrics = ground / "my run" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not (metrics.is_file() and metrics.read_text().count("\n") > 1):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume" in err
    assert "Traceback" not in err
    assert leftovers(ground) == []
    run = ground / "my run"
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert not (run / "checkpoints" / "final.ckpt").exists()
    assert json.loads((run / "manifest.json").read_text())["ended"] is None
    assert main([*argv, "--resume", "--max-time", "0.001"]) == 0
    assert (run / "checkpoints" / "final.ckpt").is_file()


def test_spaces_umlauts_links_and_names_work_and_the_data_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEMISEG_HOME", str(tmp_path / "häuslich hier"))
    folder = tmp_path / "Prüfung der Daten"
    data = make_dataset(
        folder, labeled=2, unlabeled=2, test=2, shape=SHAPE, name="Dataset042_Äpfel und Birnen"
    )
    before = snapshot(folder)
    (tmp_path / "link").symlink_to(data)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("SEMISEG_DATA", str(folder))
    for name in ("42", "Dataset042_Äpfel und Birnen", "../link", f"../{folder.name}/{data.name}", str(data)):
        assert main(["check", name, "-j", "1"]) == 0, capsys.readouterr().err
        assert "2 labeled, 2 unlabeled, 2 test" in capsys.readouterr().out
    argv = ["--device", "cpu", "-j", "0", "--set", "train.iterations=2", "--run", "Lauf 1"]
    assert main(["train", "../link", *argv]) == 0, capsys.readouterr().err
    assert main(["predict", "-i", str(data), "-o", "Vorhersagen ä", "-m", "Lauf 1", "--device", "cpu"]) == 0
    assert main(["evaluate", "../link/labelsTs", "Vorhersagen ä", "-j", "1"]) == 0
    assert (work / "Vorhersagen ä" / "summary.json").is_file()
    assert snapshot(folder) == before
