"""Cells as jobs of submitit, run by its executor for this machine."""

from __future__ import annotations

import json
import os
import signal

import pytest
from tests import sweeps

from semiseg.errors import UsageError
from semiseg.sweeping.executors import make_executor

FLAGS = (
    "--on",
    "slurm",
    "--set-slurm",
    "cluster=local",
    "--set-slurm",
    "cpus_per_task=1",
    "--devices",
    "cpu",
)


def test_a_job_that_is_killed_is_tried_again(tmp_path):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    data = sweeps.tiny_dataset(tmp_path)
    wanted = sweeps.tiny_spec(data, methods=["supervised"], bounds=False, iterations=20)
    spec = sweeps.write_spec(wanted, tmp_path / "spec.yaml")
    folder = tmp_path / "sweep"
    driver = sweeps.start(spec, folder, *FLAGS)
    title = "Dataset001_Tiny supervised labeled 1 seed 0"

    def running():
        found = sweeps.entries(folder).get(title) if (folder / "cells").is_dir() else None
        return found if found and found.state == "running" else None

    os.kill(sweeps.process_of(sweeps.wait_for(running)), signal.SIGKILL)
    code, told = sweeps.finish(driver)
    assert code == 0, told
    assert f"{title}: dead: its process was killed by SIGKILL" in told
    sweeps.run_here(spec, tmp_path / "here")
    sweeps.require_same(folder, tmp_path / "here")
    assert json.loads((folder / "sweep.json").read_text())["cells"][0]["attempts"] == 2


def test_wrong_parameters_are_told(tmp_path):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    data = sweeps.tiny_dataset(tmp_path)
    with pytest.raises(UsageError, match="patition"):
        sweeps.run_on(
            "slurm",
            sweeps.tiny_spec(data, slurm={"cluster": "local", "slurm_patition": "gpu"}),
            tmp_path / "sweep",
        )


@pytest.mark.parametrize(
    ("on", "more", "part"),
    [
        ("slrm", {}, "Did you mean 'slurm'"),
        ("local", {"devices": "gpu"}, "unknown device 'gpu'"),
        ("local", {"devices": ","}, "names none"),
        ("slurm", {"devices": "cuda:0"}, "the cluster gives out the devices"),
    ],
)
def test_places_that_do_not_exist(on, more, part):
    with pytest.raises(UsageError, match=part):
        make_executor(on, work=print, **more)


def test_a_missing_extra_is_named(monkeypatch):
    import sys

    for extra, package in (("ray", "ray"), ("slurm", "submitit")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UsageError) as caught:
            make_executor(extra, work=print)
        assert f"semiseg[{extra}]" in caught.value.hint
