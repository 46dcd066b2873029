"""What is already there: finished predictions are kept, foreign files are safe, nothing is half done."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.trained import make_run

from semiseg import images
from semiseg.errors import UsageError
from semiseg.prediction.model import Model
from semiseg.prediction.predict import predict


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for k in range(3):
        array = np.random.default_rng(k).integers(0, 2, (8, 9, 10)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"case{k}.nii.gz")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def statuses(scans: Path, out: Path, run: Path, **options) -> list[str]:
    return [case.status for case in predict(scans, out, run, device="cpu", **options).cases]


def test_finished_scans_are_skipped_with_their_numbers(scans: Path, out: Path, run: Path) -> None:
    first = predict(scans, out, run, device="cpu")
    before = (out / "case0.nii.gz").stat().st_mtime_ns
    second = predict(scans, out, run, device="cpu")
    assert [case.status for case in second.cases] == ["skipped"] * 3
    assert [case.sizes for case in second.cases] == [case.sizes for case in first.cases]
    assert (out / "case0.nii.gz").stat().st_mtime_ns == before
    assert statuses(scans, out, run, overwrite=True) == ["done"] * 3


def test_what_is_missing_cut_or_stale_is_done_again(scans: Path, out: Path, run: Path) -> None:
    statuses(scans, out, run)
    (out / "case0.nii.gz").unlink()
    (out / "case1.nii.gz").write_bytes((out / "case1.nii.gz").read_bytes()[:-9])
    assert statuses(scans, out, run) == ["done", "done", "skipped"]
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), scans / "case2.nii.gz")
    assert statuses(scans, out, run) == ["skipped", "skipped", "done"]
    assert nib.load(out / "case2.nii.gz").shape == (4, 4, 4)


def test_asking_for_uncertainty_later_adds_it(scans: Path, out: Path, run: Path) -> None:
    statuses(scans, out, run)
    assert statuses(scans, out, run, uncertainty=True) == ["done"] * 3
    assert statuses(scans, out, run, uncertainty=True) == ["skipped"] * 3
    assert statuses(scans, out, run) == ["skipped"] * 3


def test_a_record_from_a_killed_run_is_no_finished_scan(scans: Path, out: Path, run: Path) -> None:
    statuses(scans, out, run)
    record = json.loads((out / "case1.json").read_text())
    (out / "case1.json").write_text(json.dumps(record | {"status": "writing"}))
    assert statuses(scans, out, run) == ["skipped", "done", "skipped"]


def test_other_files_in_the_way_are_never_overwritten_unasked(scans: Path, out: Path, run: Path) -> None:
    out.mkdir()
    (out / "case1.nii.gz").write_bytes(b"the only expert label")
    with pytest.raises(UsageError, match=r"case1\.nii\.gz") as caught:
        predict(scans, out, run, device="cpu")
    assert "--overwrite" in caught.value.hint
    assert [p.name for p in out.iterdir()] == ["case1.nii.gz"]
    assert statuses(scans, out, run, overwrite=True) == ["done"] * 3


def test_another_model_or_other_options_are_not_mixed(
    scans: Path, out: Path, run: Path, tmp_path: Path
) -> None:
    statuses(scans, out, run)
    other = make_run(tmp_path / "other", shift=0.1)
    for options in ({}, {"mirror": True}):
        with pytest.raises(UsageError, match="not made by this model") as caught:
            predict(scans, out, run if options else other, device="cpu", **options)
        assert caught.value.code == "OUTPUT_EXISTS"
    with pytest.raises(UsageError, match="and 2 more"):
        predict(scans, out, run, device="cpu", resume=False)
    assert statuses(scans, out, other, overwrite=True) == ["done"] * 3


def test_inputs_are_never_overwritten(scans: Path, run: Path) -> None:
    before = {p.name: p.read_bytes() for p in scans.iterdir()}
    for output in (scans, scans / ".." / "scans"):
        with pytest.raises(UsageError, match="among the input") as caught:
            predict(scans, output, run, device="cpu", overwrite=True)
        assert caught.value.code == "OUTPUT_IS_INPUT"
    with pytest.raises(UsageError, match="among the input"):
        predict(scans / "case0.nii.gz", scans / "case0.nii.gz", run, device="cpu", overwrite=True)
    assert {p.name: p.read_bytes() for p in scans.iterdir()} == before
    assert statuses(scans, scans / "predictions", run) == ["done"] * 3


def test_outputs_that_cannot_be_meant(scans: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 scans"):
        predict(scans, tmp_path / "all.nii.gz", run, device="cpu")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        predict(scans, tmp_path / "notes.txt", run, device="cpu")


@pytest.mark.parametrize("moment", ["infer", "write"])
def test_control_c_leaves_whole_files_and_a_report(
    scans: Path, out: Path, run: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    calls = []
    place, name = (Model, "infer") if moment == "infer" else (images, "write")
    original = getattr(place, name)

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            if moment == "write":
                original(*args, **options)  # the label map is there, its record not yet
            raise KeyboardInterrupt
        return original(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict(scans, out, run, device="cpu")
    assert sorted(p.name for p in out.iterdir()) == ["case0.json", "case0.nii.gz", "prediction_report.json"]
    report = json.loads((out / "prediction_report.json").read_text())
    assert report["interrupted"]
    assert report["counts"] == {"done": 1, "skipped": 0, "failed": 0}
    assert statuses(scans, out, run) == ["skipped", "done", "done"]
