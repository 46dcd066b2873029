"""Unpacked scans go with their process: at its end by itself, after a kill with the next start."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY

from semiseg.machine import folders as scratch
from semiseg.machine.folders import PREFIX, Scratch, sweep

UNPACKS = """
import sys, time
from semiseg.machine.folders import Scratch
held = Scratch()
(held.path / "patient.dcm").write_bytes(b"secret")
print(held.path, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_a_folder_ends_with_its_object(place: Path) -> None:
    made = Scratch()
    (made.path / "a.dcm").write_bytes(b"x")
    assert made.path.stat().st_mode & 0o777 == 0o700
    sweep()  # it is in use
    assert (made.path / "a.dcm").is_file()
    seen_elsewhere = pickle.loads(pickle.dumps(made))
    del seen_elsewhere
    assert made.path.is_dir()
    del made
    assert list(place.iterdir()) == []
    with Scratch() as folder:
        assert folder.is_dir()
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_start(place: Path) -> None:
    def start() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", UNPACKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    killed, left = start()
    living, used = start()
    try:
        sweep()
        assert left.is_dir()
        assert used.is_dir()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert (left / "patient.dcm").is_file()
        done = subprocess.run([sys.executable, "-m", "semiseg", "--version"], capture_output=True, check=True)
        assert done.stdout
        assert not left.exists()
        assert (used / "patient.dcm").is_file()
    finally:
        for process in (killed, living):
            process.communicate("\n")
    assert list(place.iterdir()) == []


def test_what_others_own_and_links_stay(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = place / "mine"
    target.mkdir()
    (place / f"{PREFIX}link").symlink_to(target)
    sweep()
    assert target.is_dir()
    (place / f"{PREFIX}other").mkdir()
    monkeypatch.setattr(scratch.os, "getuid", lambda: -1)
    sweep()
    assert (place / f"{PREFIX}other").is_dir()
