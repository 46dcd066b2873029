"""When a run folder may be resumed, replaced or must be left alone; two processes make one run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.conftest import REPOSITORY
from tests.factories import make_dataset

import semiseg
from semiseg.errors import UsageError
from semiseg.networks import checkpoint
from semiseg.runs.events import Ended
from semiseg.runs.folder import RunFolder, StoredRun
from semiseg.runs.run import Run, load_run, save_config
from semiseg.settings.resolve import resolve
from semiseg.training import train as experiment

FLAGS = {
    "method.name": "supervised",
    "plan.patch": (16, 16, 16),
    "plan.features": (4, 8),
    "plan.batch": 1,
    "train.iterations": 2,
    "train.precision": "32",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), unlabeled=0, test=0)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A finished run; tests copy it."""
    config = resolve(flags=FLAGS, environment={})
    folder = tmp_path_factory.mktemp("runs") / "finished"
    return experiment.train(data, config, run=folder, device="cpu", workers=0)


@pytest.fixture
def run(finished, tmp_path):
    """A copy that is not finished."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    (folder / "checkpoints" / "final.ckpt").unlink()
    return Run(folder)


def train(data: Path, folder: Path, flags: dict[str, object] | None = None, **options: object) -> Run:
    config = resolve(flags=FLAGS | (flags or {}), environment={})
    return experiment.train(data, config, run=folder, device="cpu", workers=0, **options)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_existing_run_is_not_touched(data, run):
    before = files(run.folder)
    with pytest.raises(UsageError, match="not empty") as caught:
        train(data, run.folder)
    assert "--resume" in caught.value.hint
    assert files(run.folder) == before


def test_a_folder_that_is_no_run_is_never_deleted(data, tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(UsageError, match="not empty"):
            train(data, tmp_path, **options)
    assert (tmp_path / "thesis.txt").read_text() == "three years of work"


def test_overwrite_starts_anew(data, run):
    stale = [run.folder / name for name in ("events.jsonl", "test/ts_00.nii.gz", "checkpoints/best-a.ckpt")]
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text("of the old run")
    (run.folder / "notes.txt").write_text("mine")
    again = train(data, run.folder, {"train.seed": 1}, overwrite=True)
    assert again.finished
    assert not any(path.exists() and path.read_text() == "of the old run" for path in stale)
    assert (run.folder / "notes.txt").read_text() == "mine"
    assert again.config.train.seed == 1


@pytest.mark.parametrize("left", [(), ("config.yaml",), ("config.yaml", "plan.json", "manifest.json")])
def test_a_run_killed_before_its_first_checkpoint_starts_anew_with_resume(left, data, finished, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "train.log").touch()
    for name in left:
        shutil.copyfile(finished.folder / name, folder / name)
    assert train(data, folder, resume=True).finished


def test_resume_without_a_run_starts_one(data, tmp_path):
    assert train(data, tmp_path / "new", resume=True).finished


def test_a_finished_run_is_returned_as_it_is(data, finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    (folder / "checkpoints" / "last.ckpt").unlink()  # to save space: the final model is still there
    before = files(folder)
    assert train(data, folder, resume=True).finished
    assert files(folder) == before


@pytest.mark.parametrize(
    ("flag", "value"),
    [("optimizer.lr", 0.5), ("train.seed", 7), ("method.options.include_background", False)],
)
def test_resuming_with_another_setting_names_it(flag, value, data, run):
    before = files(run.folder)
    with pytest.raises(UsageError, match=flag) as caught:
        train(data, run.folder, {flag: value}, resume=True)
    assert caught.value.code == "RESUME_DIFFERS"
    assert files(run.folder) == before


def test_resuming_may_change_what_does_not_change_the_result(data, run):
    resumed = train(data, run.folder, {"train.checkpoint_minutes": 1.0, "train.log_every": 1}, resume=True)
    assert resumed.finished
    assert [session["reason"] for session in resumed.manifest["sessions"]] == ["finished", "finished"]


def test_what_a_plan_was_made_for_need_not_be_said_again(data, run):
    save_config(run.config.changed("plan", networks=2.0, memory_gb=4.0), run.folder / "config.yaml")
    with pytest.raises(UsageError, match=r"plan\.networks: 2\.0 before, 1\.0 now"):
        train(data, run.folder, {"plan.networks": 1.0}, resume=True)
    assert train(data, run.folder, resume=True).finished


def test_resuming_on_other_data_is_refused(finished, run, tmp_path):
    other = make_dataset(tmp_path, unlabeled=0, test=0, seed=5)
    with pytest.raises(UsageError, match="data has changed"):
        train(other, run.folder, resume=True)


def test_resume_clears_half_written_checkpoints(data, run):
    torn = run.folder / "checkpoints" / ".0123456789abcdef.tmp"
    torn.write_bytes(b"half")
    os.utime(torn, (0, 0))
    train(data, run.folder, resume=True)
    assert not torn.exists()


def test_half_written_predictions_of_held_out_cases_are_cleared_too(tmp_path):
    place = RunFolder(tmp_path, "Dataset", resolve(environment={}), exact=True)
    assert tmp_path / "held_out" in place.filled


def test_a_resumed_run_keeps_its_precision(data, run):
    manifest = run.manifest | {"precision": "32"}
    (run.folder / "manifest.json").write_text(json.dumps(manifest))
    seen = []
    config = resolve(flags=FLAGS, environment={})
    trained = experiment.train(
        data, config, run=run.folder, device="cpu", workers=0, resume=True, listeners=[seen.append]
    )
    assert trained.manifest["precision"] == "32"
    assert isinstance(seen[-1], Ended)


def test_not_a_run_is_said(tmp_path):
    with pytest.raises(UsageError, match="not a run folder"):
        load_run(tmp_path)


@pytest.mark.parametrize("launcher", ["--devices", "torchrun"])
def test_two_processes_train_one_run(launcher, tmp_path):
    data = make_dataset(tmp_path, labeled=2, unlabeled=2, test=0)
    words = [
        "semiseg",
        "train",
        str(data),
        "--runs",
        str(tmp_path / "runs"),
        "--iterations",
        "4",
        "--device",
        "cpu",
    ]
    for key, value in (
        ("plan.patch", "[16,16,16]"),
        ("plan.features", "[4,8]"),
        ("train.log_every", 2),
        ("batch.labeled", 2),
        ("batch.unlabeled", 2),
    ):
        words += ["--set", f"{key}={value}"]
    command = [sys.executable, "-m", *words, "-j", "0"]
    if launcher == "--devices":
        command += ["--devices", "2"]
    else:
        torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
        command = [sys.executable, "-m", *torchrun, *words, "-j", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    (config_file,) = (tmp_path / "runs").rglob("config.yaml")
    run = Run(config_file.parent)
    assert run.finished
    assert [row["step"] for row in run.metrics] == ["2", "4"]
    state = checkpoint.load(run.folder / "checkpoints" / "last.ckpt", checkpoint.STATE)
    assert state["step"] == 4
    assert all(torch.isfinite(value.float()).all() for value in state["method"].values())
    # the two processes see the same samples as one: the first loss is the same
    flags = FLAGS | {"method.name": "mean_teacher", "train.iterations": 4, "train.log_every": 2}
    del flags["train.precision"]
    config = resolve(flags=flags | {"batch.labeled": 2, "batch.unlabeled": 2}, environment={})
    alone = experiment.train(data, config, run=tmp_path / "alone", device="cpu", workers=0)
    both = [float(r.metrics[0]["supervised"]) for r in (run, alone)]
    assert both[0] == pytest.approx(both[1], rel=0.2)
    torn = [line for line in (run.folder / "events.jsonl").read_text().splitlines() if not json.loads(line)]
    assert torn == []


def test_the_manifest_says_what_the_run_took(finished):
    manifest = finished.manifest
    session = manifest["sessions"][-1]
    assert 0.05 < session["memory_gb"] < 1000
    assert "device_memory_gb" not in session  # there is no device beside the CPU
    weights = checkpoint.load(finished.folder / "checkpoints" / "final.ckpt", checkpoint.MODEL)["predictor"]
    buffers = [n for n in weights if n.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert "arXiv:" in manifest["cite"]["method"]
    assert manifest["cite"]["semiseg"].startswith(f"semiseg {semiseg.__version__}")
    assert manifest["parameters"] == sum(w.numel() for n, w in weights.items() if n not in buffers)


def test_a_changed_or_damaged_plan_and_lists_are_told(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Prediction uses the plan that was trained with and says so; resuming refuses the other one."""
    plan, path = run.plan, run.folder / "plan.json"
    plan.model_copy(update={"spacing": (2.0, 2.0, 2.0)}).save(path)
    assert semiseg.Model.load(run.folder, "cpu").plan.spacing == plan.spacing
    assert "plan.json was changed after the training (spacing: (2.0, 2.0, 2.0) there" in caplog.text
    with pytest.raises(UsageError, match="was changed since the run was started: spacing is") as caught:
        _ = StoredRun(run).plan
    assert caught.value.code == "RESUME_DIFFERS"
    path.write_text("{")
    assert StoredRun(run).plan == plan == run.plan  # written anew
    lists = run.folder / "splits.json"
    lists.write_text('{"labeled": ["a"], "unlabeled": 3}')
    with pytest.raises(UsageError, match="'unlabeled' is not a list of cases"):
        _ = run.split
