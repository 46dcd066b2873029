"""Tuning with real, tiny trainings: what it may see, what it leaves, and what stops it without harm."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import sweeps
from tests.conftest import environment_of_ranks
from tests.factories import make_dataset

import semiseg
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.patient import PatientRule
from semiseg.dataset.split import Split
from semiseg.dataset.split_file import SplitFile
from semiseg.errors import Interrupted, UsageError
from semiseg.machine.worker import Worker, WorkerEnd
from semiseg.runs.log import read_metrics
from semiseg.settings.config import AUTO_ITERATIONS, Config
from semiseg.settings.resolve import resolve
from semiseg.tuning.outline import Metric, folded, outline
from semiseg.tuning.trial import Bench, Pruned, Reports, TrialJob, TrialRecord, run_trial, scored
from semiseg.tuning.trial_workers import DiedError, Running, job_file, work

pytest.importorskip("optuna")

SETTINGS = {"plan.patch": [16, 16, 16], "plan.features": [4, 8], "train.precision": "32", "plan.batch": 2}
TERMS: dict[str, Any] = {
    "method": "mean_teacher",
    "labeled": 4,
    "folds": 2,
    "iterations": 3,
    "settings": SETTINGS,
    "space": {"weight": "1:100:log", "optimizer.lr": ""},
    "only": ["weight"],
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"), labeled=5, unlabeled=2, test=1, classes=3)


def tune(data: Path, folder: Path, **terms: Any) -> Any:
    if isinstance(terms.get("space", {}), dict):
        space = terms.pop("space", TERMS["space"])
        terms["space"] = [f"{name}={text}" if text else name for name, text in space.items()]
    return semiseg.tune(data, **{**TERMS, **terms}, output=folder)


def told(tuned: Any, most: int | None = None) -> list[tuple]:
    """What must be the same in every telling of a tuning."""
    entries = [entry for entry in tuned.entries if entry.state in ("done", "pruned")]
    return [(entry.values, entry.folds, entry.state) for entry in entries][:most]


@pytest.fixture(scope="module")
def tuned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.set_num_threads(1)
    return tune(data, tmp_path_factory.mktemp("tuned") / "t", trials=3)


def test_the_folder_holds_what_the_docs_say(tuned: Any) -> None:
    with (tuned.folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["done"] * 3
    assert float(rows[0]["weight"]) == 0.1  # where the search starts
    assert float(rows[0]["score"]) == pytest.approx((float(rows[0]["fold_0"]) + float(rows[0]["fold_1"])) / 2)
    ElementTree.parse(tuned.folder / "trials.svg")
    summary = json.loads((tuned.folder / "summary.json").read_text())
    assert (summary["labeled"], summary["folds"], len(summary["trials"])) == (4, 2, 3)
    assert (tuned.folder / "study.journal").is_file()
    runs = sorted(path.relative_to(tuned.folder).as_posix() for path in tuned.folder.glob("trials/*/*"))
    assert runs == [f"trials/000{n}/fold-{fold}" for n in range(3) for fold in range(2)]
    assert not list(tuned.folder.rglob("*.ckpt"))
    assert (tuned.folder / runs[0] / "validation" / "summary.json").is_file()


def test_folds_hold_out_each_labeled_case_once(tuned: Any) -> None:
    held = [
        json.loads((tuned.folder / "trials" / "0001" / f"fold-{fold}" / "splits.json").read_text())
        for fold in range(2)
    ]
    assert sorted(case for lists in held for case in lists["val"]) == [f"case_0{n}" for n in range(4)]
    for lists in held:
        assert not set(lists["val"]) & {*lists["labeled"], *lists["unlabeled"]}
        assert lists["unlabeled"] == ["case_04", "un_00", "un_01"]


def test_the_best_file_means_the_same_as_config_and_as_recipe(tuned: Any, tmp_path: Path) -> None:
    text = tuned.best_file.read_text()
    assert "4 labeled cases in 2 folds" in text
    assert tuned.verdict.reason[1:] in text
    wanted = tuned.config.model_dump(exclude={"data": True, "recipe": True})
    as_file = resolve(file=tuned.best_file, environment={})
    as_recipe = resolve(recipe=str(tuned.best_file), environment={})
    assert as_file.model_dump(exclude={"data": True, "recipe": True}) == wanted
    assert as_recipe.model_dump(exclude={"data": True, "recipe": True}) == wanted
    assert as_file.train.iterations == "auto"  # those of the trials are not those of the final training


def test_force_takes_the_best_and_no_lead_keeps_the_start(tuned: Any, data: Path) -> None:
    forced = tune(data, tuned.folder, trials=3, resume=True, force=True)
    kept = tune(data, tuned.folder, trials=3, resume=True)
    best = forced.verdict.best
    if forced.verdict.gain > 0:
        assert forced.config.method.options["weight"] == best.values["weight"]
        assert forced.config.optimizer.lr == best.values["optimizer.lr"]
    if kept.verdict.chosen is None:
        assert kept.config.method.options["weight"] == 0.1
    assert told(kept) == told(forced)


def test_labels_of_unlabeled_and_test_cases_are_never_opened(tuned: Any, data: Path, tmp_path: Path) -> None:
    blind = tmp_path / data.name
    shutil.copytree(data, blind)
    shutil.rmtree(blind / "labelsTs")
    (blind / "labelsTr" / "case_04.nii.gz").unlink()
    assert told(tune(blind, tmp_path / "t", trials=1)) == told(tuned, 1)


def test_killed_and_resumed_tells_the_same(tuned: Any, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    flags = [f"--set={key}={value}" for key, value in SETTINGS.items()]
    command = [sys.executable, "-m", "semiseg", "tune", str(data), "--method", "mean_teacher", *flags]
    command += ["--labeled", "4", "--folds", "2", "--iterations", "3", "--trials", "2", "--device", "cpu"]
    command += ["--space", "weight=1:100:log", "--space", "optimizer.lr", "--only", "weight"]
    process = subprocess.Popen([*command, "-o", str(folder)], env=environment_of_ranks())
    events = folder / "trials" / "0001" / "fold-1" / "events.jsonl"
    until = time.monotonic() + 120
    while process.poll() is None and not events.is_file() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with pytest.raises(UsageError, match="not empty") as error:
        tune(data, folder)
    assert "--resume" in error.value.hint
    resumed = tune(data, folder, trials=2, resume=True)
    assert [entry.state for entry in resumed.entries] == ["done", "died", "done"]
    assert told(resumed) == told(tuned, 2)
    with pytest.raises(UsageError, match=r"metric: Dice before, HD95 now"):
        tune(data, folder, resume=True, metric="HD95")


def begun(shared: Bench, job: TrialJob) -> tuple[Worker, Running]:
    """A worker at a trial."""
    reports = Reports(shared, job, lambda place, score: False)
    return Worker(job_file(shared, job, 1), "cpu"), Running(TrialRecord(0, "running", {}), job, reports)


def test_a_worker_is_stopped_killed_and_gone_on_with(data: Path, tmp_path: Path) -> None:
    shared, job = bench(data, tmp_path / "t", prune=True)
    worker, trial = begun(shared, job)
    sweeps.wait_for(lambda: worker.ended or read_metrics(job.fold(0)))
    worker.stop()  # as when its leader dies
    with pytest.raises(Interrupted):
        trial.outcome(worker.wait(), shared)
    if not list(job.fold(1).glob("*")):
        assert list(job.fold(0).glob("checkpoints/*.ckpt"))
    worker, trial = begun(shared, job)
    sweeps.wait_for(lambda: worker.ended or (job.fold(1) / "events.jsonl").is_file())
    worker.kill()
    with pytest.raises(DiedError, match="SIGKILL"):
        trial.outcome(worker.wait(), shared)
    run_trial(shared, job, lambda place, score: False)
    other = TrialJob(job.config, job.folder.with_name("0001"))
    assert scored(shared, job) == run_trial(shared, other, lambda place, score: False)


@pytest.mark.usefixtures("no_nohup")
@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGTERM, Interrupted), (signal.SIGHUP, Interrupted), (signal.SIGKILL, DiedError)],
)
def test_a_worker_that_a_scheduler_ends_while_it_starts_is_not_to_blame(
    data: Path, tmp_path: Path, number: signal.Signals, error: type[Exception]
) -> None:
    shared, job = bench(data, tmp_path / "t", prune=True)
    worker, trial = begun(shared, job)
    worker.process.send_signal(number)
    with pytest.raises(error):
        trial.outcome(worker.wait(), shared)


def test_what_is_wrong_is_told_by_the_worker(data: Path, tmp_path: Path) -> None:
    shared, job = bench(data, tmp_path / "t")
    job = dataclasses.replace(job, config=job.config.changed("network", options={"up": "no_such"}))
    trial = Running(TrialRecord(0, "running", {}), job, Reports(shared, job, lambda place, score: False))
    file = job_file(shared, job)
    with pytest.raises(semiseg.SemisegError, match="no_such") as error:
        work(file.folder, file.name, "cpu")
    with pytest.raises(semiseg.SemisegError, match="no_such") as told:
        trial.outcome(WorkerEnd(file.name, "ended", error.value.exit_code), shared)
    assert told.value.hint == error.value.hint


@pytest.mark.slow
def test_a_killed_worker_costs_an_attempt_and_no_trial(
    tuned: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Worker] = []
    start = Worker.__init__

    def note(self: Worker, *args: Any) -> None:
        start(self, *args)
        started.append(self)

    monkeypatch.setattr(Worker, "__init__", note)

    def kill_one() -> None:
        sweeps.wait_for(lambda: list(tmp_path.glob("t/trials/*/fold-0/events.jsonl")))
        started[0].kill()

    thread = threading.Thread(target=kill_one)
    thread.start()
    found = tune(data, tmp_path / "t", trials=2, workers=2)
    thread.join()
    states = [entry.state for entry in found.entries]
    assert (states.count("died"), states.count("done")) == (1, 2)
    assert "SIGKILL" in next(entry.note for entry in found.entries if entry.state == "died")
    start = next(entry for entry in found.entries if entry.start and entry.state == "done")
    assert start.folds == tuned.entries[0].folds
    assert len(started) == 3
    assert all(worker.ended for worker in started)


def test_ctrl_c_saves_and_is_no_attempt(data: Path, tmp_path: Path) -> None:
    def interrupt() -> None:
        until = time.monotonic() + 120
        while not list(tmp_path.glob("t/trials/*/fold-0/events.jsonl")) and time.monotonic() < until:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted) as error:
        tune(data, tmp_path / "t", trials=2, iterations=5000)  # the signal must not come at its end
    thread.join()
    assert error.value.exit_code == 130
    assert "--resume" in error.value.hint
    assert "start was not scored" in (tmp_path / "t" / "best.yaml").read_text()


def bench(data: Path, folder: Path, **options: Any) -> tuple[Bench, TrialJob]:
    config = resolve(flags={"method.name": "supervised", **SETTINGS}, environment={})
    planned = outline(Dataset.open(data), config, folds=2, iterations=5, device="cpu")
    folder.mkdir()
    planned.plan.save(folder / "plan.json")
    made = Bench(planned.dataset, folder / "plan.json", 2, Metric("Dice"), **options)
    return made, TrialJob(planned.search.config, folder / "trials" / "0000")


def test_a_trial_that_falls_behind_is_stopped_and_its_weights_are_gone(data: Path, tmp_path: Path) -> None:
    heard: list[int] = []

    def report(place: int, score: float) -> bool:
        heard.append(place)
        return place >= 3

    shared, job = bench(data, tmp_path / "t")
    with pytest.raises(Pruned):
        run_trial(shared, job, report)
    followed = Running(TrialRecord(0, "running", {}), job, Reports(shared, job, report))
    followed.follow()  # what a worker at another process has written so far
    assert heard == [1, 2, 3] * 2
    with pytest.raises(Pruned):
        followed.outcome(WorkerEnd("0000", "stopped", Interrupted.exit_code), shared)
    assert (tmp_path / "t" / "trials" / "0000" / "fold-0" / "metrics.csv").is_file()
    assert not list((tmp_path / "t").rglob("*.ckpt"))
    assert not (tmp_path / "t" / "trials" / "0000" / "fold-1").exists()


def test_a_setting_that_cannot_be_trained_fails_alone(data: Path, tmp_path: Path) -> None:
    space = {"network.options.up": "[transposed, no_such]"}
    found = tune(
        data, tmp_path / "t", trials=3, iterations=1, only=list(space), space=space, method="supervised"
    )
    failed = [entry for entry in found.entries if entry.state == "failed"]
    assert failed
    assert all("no_such" in entry.note for entry in failed)
    assert found.entries[0].state == "done"


def test_a_start_that_cannot_be_trained_ends_the_tuning(data: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "network.options": {"up": "no_such"}}
    with pytest.raises(semiseg.SemisegError, match="no_such"):
        tune(data, tmp_path / "t", settings=settings)


def test_one_labeled_case_is_too_few(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at least 2 labeled cases.*got 1") as error:
        tune(data, tmp_path / "t", labeled=1)
    assert "label one more" in error.value.hint
    assert not (tmp_path / "t").exists()


def of_patients(data: Path, *ids: str) -> tuple[Dataset, Split]:
    opened = Dataset.open(data)
    cases = tuple(
        dataclasses.replace(case, id=name) for case, name in zip(opened.annotated, ids, strict=False)
    )
    lists = SplitFile("splits.json", patients=PatientRule("2", prefix=2))
    return dataclasses.replace(opened, splits=lists, annotated=cases), Split(cases, (), (), (), "splits.json")


def test_patients_stay_together(data: Path) -> None:
    opened, split = of_patients(data, "p1_a", "p2_a", "p1_b", "p3_a")
    with pytest.raises(UsageError, match="4 folds of 3 labeled patients"):
        folded(opened, split, 4)
    lists = folded(opened, split, None).splits
    assert lists is not None
    assert [fold.val for fold in lists.folds] == [("p1_a", "p1_b"), ("p2_a",), ("p3_a",)]
    assert lists.folds[0].labeled == ("p2_a", "p3_a")


def test_one_patient_is_too_few(data: Path) -> None:
    with pytest.raises(UsageError, match="at least 2 labeled patients"):
        folded(*of_patients(data, "p1_a", "p1_b"), None)


def test_two_processes_do_not_work_in_one_folder(tuned: Any, data: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from semiseg.machine.claim import Claim\n"
        "with Claim(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    lock = str(tuned.folder / ".semiseg.lock")
    with subprocess.Popen(
        [sys.executable, "-c", code, lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment_of_ranks(),
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="in use by"):
            tune(data, tuned.folder, trials=3, resume=True)
        holder.communicate()


@pytest.mark.parametrize(("dim", "iterations"), [(2, 2), (3, 1)])
def test_a_length_that_nobody_names_is_that_of_the_plan(
    data: Path, monkeypatch: pytest.MonkeyPatch, dim: int, iterations: int
) -> None:
    monkeypatch.setitem(AUTO_ITERATIONS, "cpu", {2: 2, 3: 1})
    flags = {**SETTINGS, "plan.dim": dim, "plan.patch": (8,) * dim}
    config = resolve(flags={"method.name": "supervised", **flags}, environment={})
    assert outline(Dataset.open(data), config, device="cpu").iterations == iterations


def test_a_fold_knows_no_other_labels(data: Path) -> None:
    opened = Dataset.open(data)
    cut = folded(opened, opened.split(4), 2)
    assert [case.id for case in cut.annotated] == [f"case_0{n}" for n in range(4)]
    assert not any(hasattr(case, "label") for case in cut.unannotated)
    assert cut.test == ()


def test_values_that_deviate_are_searched_only_when_named(data: Path) -> None:
    config = resolve(flags={"method.name": "ua_mt", **SETTINGS}, environment={})
    planned = outline(Dataset.open(data), config, device="cpu")
    assert "multiclass" not in planned.search.axes
    assert "released deviates" in planned.search.left_out["multiclass"]
    assert planned.search.deviations == frozenset()
    named = outline(Dataset.open(data), config, space=["multiclass=[corrected, released]"], device="cpu")
    assert "multiclass" in named.search.axes
    assert len(named.search.deviations) == 1


def test_metrics_by_name() -> None:
    metric = Metric.parse("hd95/left atrium", ["left atrium"])
    assert (metric.higher_is_better, metric.curve, str(metric)) == (False, None, "HD95/left atrium")
    assert Metric.parse("Dice/a", ["b", "a"]).curve == "val/dice/a"
    with pytest.raises(UsageError, match="Did you mean 'HD95'"):
        Metric.parse("HD99", [])
    with pytest.raises(UsageError, match="Did you mean 'atrium'"):
        Metric.parse("Dice/atrum", ["atrium"])
    assert Config().train.iterations == "auto"
