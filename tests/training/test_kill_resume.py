"""A training that is killed at any moment and resumed ends with the very weights of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.conftest import REPOSITORY
from tests.factories import make_dataset

from semiseg.networks import checkpoint
from semiseg.runs.run import Run

ITERATIONS = 60
FLAGS = [
    *("--iterations", str(ITERATIONS), "--labeled", "2", "--device", "cpu", "-j", "0", "--no-progress"),
    *("--set", "plan.patch=[16,16,16]", "--set", "plan.features=[4,8]", "--set", "train.log_every=4"),
    *("--set", "train.checkpoint_minutes=0.0005", "--set", "validation.every=20", "--set", "train.ema=0.9"),
]


class Trainer:
    """`semiseg train` as a process of its own, always on the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = make_dataset(folder, labeled=3, unlabeled=2, test=0)
        lists = {"order": ["case_00", "case_01"], "val": ["case_02"]}
        (self.data / "splits.json").write_text(json.dumps(lists))

    def start(self, run: Path, *more: str) -> subprocess.Popen[str]:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SEMISEG")},
            "SEMISEG_HOME": str(self.folder / "home"),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "semiseg", "train", str(self.data), "--run", str(run), *FLAGS, *more],
            env=environment,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, run: Path, *more: str) -> None:
        process = self.start(run, *more)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output

    def stop_at(self, run: Path, size: int, number: int) -> tuple[int, str]:
        """Start or resume, and send a signal once ``events.jsonl`` has grown to ``size`` bytes."""
        process = self.start(run, "--resume")
        events = run / "events.jsonl"
        until = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < until:
            if events.is_file() and events.stat().st_size >= size:
                break
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(number)
        output, _ = process.communicate(timeout=200)
        return process.returncode, output


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    return Trainer(tmp_path_factory.mktemp("kill"))


@pytest.fixture(scope="module")
def undisturbed(trainer):
    trainer.finish(trainer.folder / "undisturbed")
    return Run(trainer.folder / "undisturbed")


def weights(run: Run, name: str = "final.ckpt") -> dict[str, torch.Tensor]:
    return checkpoint.load(run.folder / "checkpoints" / name, checkpoint.MODEL)["predictor"]


def require_equal(run: Run, undisturbed: Run) -> None:
    for name in ("final.ckpt", "best.ckpt"):
        mine, wanted = weights(run, name), weights(undisturbed, name)
        assert mine.keys() == wanted.keys()
        assert all(torch.equal(mine[key], wanted[key]) for key in wanted), name
    assert [logged(row) for row in run.metrics] == [logged(row) for row in undisturbed.metrics]
    assert not list((run.folder / "checkpoints").glob(".*")), "half-written files are left"


def logged(row: dict[str, str]) -> dict[str, str]:
    """A row of the metrics without its speed: all else is a function of the seed."""
    return {key: value for key, value in row.items() if key != "iterations_per_second"}


def kill_and_resume(trainer: Trainer, undisturbed: Run, name: str, moments: int) -> None:
    chance = random.Random(name)
    run = Run(trainer.folder / name)
    whole = (undisturbed.folder / "events.jsonl").stat().st_size
    for size in sorted(chance.sample(range(whole), moments)):
        code, output = trainer.stop_at(run.folder, size, signal.SIGKILL)
        assert code in (-signal.SIGKILL, 0), output
    trainer.finish(run.folder, "--resume")
    require_equal(run, undisturbed)


def test_an_undisturbed_run_logs_every_row_once(undisturbed):
    rows = [(row["event"], int(row["step"])) for row in undisturbed.metrics]
    stepped = [("stepped", step) for step in range(4, ITERATIONS + 1, 4)]
    validated = [("validated", step) for step in (20, 40, 60)]
    assert sorted(rows) == sorted([*stepped, *validated])


def test_killed_at_two_moments(trainer, undisturbed):
    kill_and_resume(trainer, undisturbed, "two", 2)


@pytest.mark.slow
def test_killed_at_ten_moments(trainer, undisturbed):
    kill_and_resume(trainer, undisturbed, "ten", 10)


LESS_MEMORY = ("--set", "network.checkpointing=true", "--set", "data.memory_gb=0")


@pytest.mark.parametrize(("number", "more"), [(signal.SIGINT, ()), (signal.SIGTERM, LESS_MEMORY)])
def test_a_polite_signal_saves_and_says_how_to_go_on(number, more, trainer, undisturbed):
    run = Run(trainer.folder / number.name)
    code, output = trainer.stop_at(run.folder, 1500, number)
    assert code == 130, output
    assert "--resume" in output
    assert "Traceback" not in output
    last = checkpoint.load(run.folder / "checkpoints" / "last.ckpt", checkpoint.STATE)
    assert 0 < last["step"] < ITERATIONS
    assert not run.finished
    assert run.manifest["ended"] is None
    assert run.manifest["sessions"][0]["reason"] == "interrupted"
    trainer.finish(run.folder, "--resume", *more)
    require_equal(run, undisturbed)
    assert [session["reason"] for session in run.manifest["sessions"]] == ["interrupted", "finished"]
