"""A sweep whose driver and workers are killed, interrupted and doubled ends as an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from tests import sweeps
from tests.sweeps import entries, finish, start, training, wait_for

LONG = {"train.log_every": 5, "train.checkpoint_minutes": 0.005}
FLAGS = ("--devices", "cpu", "-j", "2")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    data = sweeps.tiny_dataset(folder)
    wanted = sweeps.tiny_spec(data, bounds="lower", iterations=100, set=LONG)
    return sweeps.write_spec(wanted, folder / "spec.yaml")


@pytest.fixture(scope="module")
def undisturbed(spec):
    folder = spec.parent / "undisturbed"
    assert sweeps.run_here(spec, folder).problem() is None
    return folder


def running(folder: Path) -> list:
    """Entries of the cells that are being trained."""
    if not (folder / "cells").is_dir():
        return []
    found = [entry for entry in entries(folder).values() if entry.state == "running"]
    return [entry for entry in found if training(folder, entry)]


def ended(folder: Path) -> bool:
    """Whether no worker is left."""
    found = entries(folder).values()
    return not any(sweeps.is_alive(sweeps.process_of(entry)) for entry in found if entry.where)


def test_killed_workers_and_drivers_change_nothing(spec, undisturbed, tmp_path):
    folder = tmp_path / "sweep"
    driver = start(spec, folder, *FLAGS)
    victim = wait_for(lambda: running(folder))[0]
    os.kill(sweeps.process_of(victim), signal.SIGKILL)
    wait_for(lambda: entries(folder)[victim.cell.title].attempts == 2)
    wait_for(lambda: running(folder) or driver.poll() is not None)
    driver.kill()
    _, told = finish(driver)
    assert f"{victim.cell.title}: dead: its process was killed by SIGKILL" in told
    wait_for(lambda: ended(folder))
    done = {
        path: path.stat().st_mtime_ns
        for entry in entries(folder).values()
        if entry.state == "done"
        for path in (folder / entry.cell.place).rglob("*")
    }
    code, told = finish(start(spec, folder, *FLAGS))
    assert code == 0, told
    sweeps.require_same(folder, undisturbed)
    assert {path: path.stat().st_mtime_ns for path in done} == done, "finished cells are left alone"
    assert len(json.loads((folder / "sweep.json").read_text())["cells"]) == 2


@pytest.mark.slow
def test_ctrl_c_saves_and_two_drivers_share_the_rest(spec, undisturbed, tmp_path):
    folder = tmp_path / "sweep"
    driver = start(spec, folder, *FLAGS)
    stopped = wait_for(lambda: running(folder))[0]
    driver.send_signal(signal.SIGINT)
    code, told = finish(driver)
    assert code == 130, told
    assert "the same command continues from there" in told
    assert "Traceback" not in told
    assert ended(folder)
    entry = entries(folder)[stopped.cell.title]
    assert entry.state == "waiting"
    assert (folder / entry.cell.place / "checkpoints" / "last.ckpt").is_file()
    assert "running" not in {
        cell["state"] for cell in json.loads((folder / "sweep.json").read_text())["cells"]
    }
    both = [start(spec, folder, "--devices", "cpu", "-j", "1") for _ in range(2)]
    answers = [finish(driver) for driver in both]
    assert [code for code, _ in answers] == [0, 0], answers
    sweeps.require_same(folder, undisturbed)
    begun = [entry.attempts for entry in entries(folder).values()]
    assert sum(begun) <= 2 + 2, "no more attempts than there were interruptions"
