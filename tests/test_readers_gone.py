"""Whoever reads the output goes away, or was never there: the work is done and saved all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from semiseg.networks import checkpoint
from tests.bad_input.ground import TRAIN, make_ground
from tests.conftest import environment_of_ranks

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and pipes")

RUN = (*TRAIN, "--set", "plan.patch=[8,8,8]", "--set", "plan.features=[2,4]", "--set", "train.log_every=1")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ground(tmp_path_factory.mktemp("ground"))


started: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    """A test that fails in the middle must not leave a training behind."""
    yield
    while started:
        started.pop().kill()


def start(ground: Path, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "semiseg", *argv],
        cwd=ground,
        env=environment_of_ranks() | {"SEMISEG_HOME": str(ground / "home")},
        **options,
    )
    started.append(process)
    return process


def close(*numbers: int) -> Callable[[], None]:
    def now() -> None:
        for number in numbers:
            os.close(number)

    return now


def test_a_reader_that_leaves_ends_no_training(ground: Path) -> None:
    process = start(ground, *RUN, "--run", "piped", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert (ground / "piped" / "checkpoints" / "final.ckpt").is_file()


def test_closed_streams_end_no_training_and_nothing_is_printed_into_files(ground: Path) -> None:
    process = start(ground, *RUN, "--run", "closed", preexec_fn=close(0, 1, 2))
    assert process.wait(timeout=120) == 0
    checkpoint.load(ground / "closed" / "checkpoints" / "final.ckpt", checkpoint.MODEL)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_full_disk_under_messages_is_nothing_and_under_results_an_error(ground: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        model = ("-m", "model", "--allow-code", "tests")
        predict = ("predict", "-i", "scans", *model, "--device", "cpu", "-v", "-o")
        process = start(ground, *predict, "out", stderr=full, stdout=subprocess.PIPE)
        assert b"2 predicted" in process.communicate(timeout=120)[0]
        assert process.returncode == 0
        process = start(ground, "methods", stdout=full, stderr=subprocess.PIPE)
        assert b"error: no space left on device" in process.communicate(timeout=120)[1]
        assert process.returncode == 1


@pytest.mark.usefixtures("no_nohup")
def test_a_closed_terminal_saves_and_ends_and_under_nohup_it_is_nothing(ground: Path) -> None:
    run, argv = ground / "hung", (*RUN, "--run", "hung", "--set", "train.iterations=1000000")
    process = start(ground, *argv, stderr=subprocess.PIPE)
    _wait_for_iterations(process, run)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"--resume" in err
    step = checkpoint.load(run / "checkpoints" / "last.ckpt", checkpoint.STATE)["step"]
    assert step > 0

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    events = run / "events.jsonl"
    before = events.stat().st_size
    process = start(ground, *argv, "--resume", stderr=subprocess.DEVNULL, preexec_fn=ignore)
    _wait_for_iterations(process, run, before)
    process.send_signal(signal.SIGHUP)
    _wait_for_iterations(process, run, events.stat().st_size)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130


def _wait_for_iterations(process: subprocess.Popen[bytes], run: Path, size: int = 0) -> None:
    """Until so much more is logged than ``size`` bytes."""
    until = time.monotonic() + 120
    while not (run / "events.jsonl").is_file() or (run / "events.jsonl").stat().st_size < size + 2000:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
