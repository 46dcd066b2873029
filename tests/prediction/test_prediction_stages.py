"""Preparing, predicting and writing side by side: order, bounds, and whose error is whose."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.trained import make_run

from semiseg import images
from semiseg.errors import DataError, DeviceError
from semiseg.prediction.job import PredictionJob
from semiseg.prediction.model import Model
from semiseg.prediction.predict import predict

SHAPE = (8, 9, 10)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for k in range(5):
        array = np.random.default_rng(k).integers(0, 2, SHAPE).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"case{k}.nii.gz")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("stage", ["prepare", "infer", "finish"])
def test_an_error_belongs_to_its_scan_whichever_thread_it_happens_in(
    scans: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, workers: int
) -> None:
    place, name = {
        "prepare": (Model, "prepare"), "infer": (Model, "infer"), "finish": (images, "write"),
    }[stage]  # fmt: skip
    real, calls = getattr(place, name), []

    def broken(*given, **named):
        calls.append(given)
        if len(calls) == 2:
            raise DataError("this one is odd") if workers else ValueError("this one is odd")
        return real(*given, **named)

    monkeypatch.setattr(place, name, broken)
    report = predict(scans, tmp_path / "out", run, device="cpu", workers=workers)
    assert len(report.cases) == 5
    (failed,) = report.failed
    assert "this one is odd" in failed.error["message"]
    if workers < 2:  # with two readers, the second call may be another scan's
        assert failed.id == "case1"
    assert not list((tmp_path / "out").glob(f"{failed.id}.*"))
    for case in report.done:
        found = nib.load(tmp_path / "out" / f"{case.id}.nii.gz")
        np.testing.assert_array_equal(
            np.asarray(found.dataobj), np.asarray(nib.load(scans / f"{case.id}.nii.gz").dataobj)
        )


def test_the_stages_run_side_by_side_and_no_further_ahead_than_asked(
    scans: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"prepare": 0, "infer": 0, "finish": 0}
    waiting, writing, threads = [], [], {}
    lock = threading.Lock()

    def counted(stage: str) -> None:
        real = getattr(PredictionJob, stage)

        def work(self, *given):
            with lock:
                threads[stage] = threading.current_thread().name
            result = real(self, *given)
            if stage == "infer":
                time.sleep(0.05)  # long enough for the others to run ahead, were they free to
            with lock:
                counts[stage] += 1
                waiting.append(counts["prepare"] - counts["infer"])
                writing.append(counts["infer"] - counts["finish"])
            return result

        monkeypatch.setattr(PredictionJob, stage, work)

    for stage in counts:
        counted(stage)
    predict(scans, tmp_path / "out", run, device="cpu", workers=1)
    assert counts == {"prepare": 5, "infer": 5, "finish": 5}
    assert max(waiting) <= 2  # the one in the network, and one ahead of it
    assert max(writing) <= 2
    assert threads["prepare"].startswith("read")
    assert threads["finish"].startswith("write")
    assert threads["infer"] == threading.current_thread().name


def test_a_device_error_keeps_the_result_that_is_being_written(
    scans: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Model.infer, []

    def no_room(self, *given, **named):
        calls.append(given)
        if len(calls) == 3:
            raise DeviceError("no room")
        return real(self, *given, **named)

    slow = images.write

    def slowly(*given, **named):
        time.sleep(0.1)
        slow(*given, **named)

    monkeypatch.setattr(Model, "infer", no_room)
    monkeypatch.setattr(images, "write", slowly)
    with pytest.raises(DeviceError):
        predict(scans, tmp_path / "out", run, device="cpu")
    report = json.loads((tmp_path / "out" / "prediction_report.json").read_text())
    assert report["interrupted"]
    assert [case["id"] for case in report["cases"]] == ["case0", "case1"]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz")) == ["case0.nii.gz", "case1.nii.gz"]


def test_progress_is_told_in_order(scans: Path, run: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    predict(scans, tmp_path / "out", run, device="cpu", progress=lambda *step: steps.append(step))
    assert steps == [(k, 5) for k in range(1, 6)]
