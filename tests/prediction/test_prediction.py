"""Prediction end to end: right voxels, right grid, right values, and nothing lost or half done."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.trained import make_plan, make_run

from semiseg import images
from semiseg.errors import DataError, DeviceError, UsageError
from semiseg.images.grid import Grid
from semiseg.prediction.model import Model
from semiseg.prediction.predict import predict

OBLIQUE = np.array([[0, -0.96, -0.84, 5], [1.5, 0, 0, -7], [0, -0.28, 2.88, 2], [0, 0, 0, 1.0]])
"""A permuted, flipped and tilted grid, 1.5 x 1 x 3 mm."""


def truth(seed: int, shape: tuple[int, ...] = (13, 18, 9), classes: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, shape).astype(np.uint8)


def make_scans(folder: Path, count: int = 3) -> Path:
    """Scans whose voxels are their own label, so that the threshold network is always right."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        image = nib.Nifti1Image(truth(k).astype(np.float32), OBLIQUE)
        image.set_sform(OBLIQUE, 2)
        image.set_qform(OBLIQUE, 3)
        nib.save(image, folder / f"case{k}_0000.nii.gz")
    return folder


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    return make_scans(tmp_path / "scans")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def test_label_maps_lie_where_the_scans_lie(scans: Path, run: Path, tmp_path: Path) -> None:
    steps = []
    out = tmp_path / "out"
    report = predict(scans, out, run, device="cpu", uncertainty=True, progress=lambda *a: steps.append(a))
    assert [case.status for case in report.cases] == ["done"] * 3
    assert steps == [(1, 3), (2, 3), (3, 3)]
    for k in range(3):
        source, label = nib.load(scans / f"case{k}_0000.nii.gz"), nib.load(out / f"case{k}.nii.gz")
        np.testing.assert_array_equal(np.asarray(label.dataobj), truth(k))
        assert label.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(label.affine, source.affine)
        assert label.get_sform(coded=True)[1] == 2
        assert label.get_qform(coded=True)[1] == 3
        doubt = nib.load(out / f"case{k}_entropy.nii.gz")
        assert doubt.get_data_dtype() == np.float32
        assert doubt.shape == label.shape
    assert not [p.name for p in out.iterdir() if p.name.startswith(".")]


def test_records_tell_who_made_what_from_what(scans: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = predict(scans, out, run, device="cpu")
    record = json.loads((out / "case1.json").read_text())
    assert record["case"] == "case1"
    assert record["status"] == "done"
    assert record["model"]["id"] == Model.load(run, "cpu").id
    assert record["inputs"] == [str(scans / "case1_0000.nii.gz")]
    assert record["outputs"] == {"labels": "case1.nii.gz"}
    assert record["label_values"] == {"background": 0, "structure 1": 1}
    np.testing.assert_allclose(record["grid"]["affine"], OBLIQUE, atol=1e-6)
    milliliters = truth(1).sum() * 1.5 * 1 * 3 / 1000
    assert record["sizes"]["structure 1"] == pytest.approx(milliliters, rel=1e-4)
    whole = json.loads((out / "prediction_report.json").read_text())
    assert whole == json.loads(json.dumps(report.as_dict()))
    assert whole["counts"] == {"done": 3, "skipped": 0, "failed": 0}
    assert whole["files"] == [str(out / f"case{k}.nii.gz") for k in range(3)]


def test_the_users_label_values_come_back(scans: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_plan(label_map={300: 1}))
    predict(scans, tmp_path / "out", run, device="cpu")
    label = nib.load(tmp_path / "out" / "case0.nii.gz")
    assert label.get_data_dtype() == np.uint16
    np.testing.assert_array_equal(np.asarray(label.dataobj), truth(0).astype(int) * 300)


def test_one_bad_scan_does_not_stop_the_others(scans: Path, run: Path, tmp_path: Path) -> None:
    (scans / "case0_0000.nii.gz").write_bytes(b"no image")
    broken = np.full((5, 5, 5), np.nan, np.float32)
    nib.save(nib.Nifti1Image(broken, np.eye(4)), scans / "nan.nii.gz")
    report = predict(scans, tmp_path / "out", run, device="cpu")
    assert {case.id: case.status for case in report.cases} == {
        "case0": "failed", "case1": "done", "case2": "done", "nan": "failed",
    }  # fmt: skip
    first, second = report.failed
    assert "case0" in first.error["message"]
    assert second.error["code"] == "NOT_FINITE"
    assert not list((tmp_path / "out").glob("case0*"))


def test_several_channels_and_a_missing_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_scans(tmp_path / "scans", 2)
    run = make_run(tmp_path / "run", make_plan(channels=2))
    nib.save(nib.load(folder / "case0_0000.nii.gz"), folder / "case0_0001.nii.gz")
    report = predict(folder, tmp_path / "out", run, device="cpu")
    assert [case.status for case in report.cases] == ["done", "failed"]
    assert report.failed[0].error["code"] == "MISSING_CHANNEL"
    assert "case1 failed: missing channel" in caplog.text


def test_a_single_file_in_and_out(scans: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "mine.mha"
    report = predict(scans / "case2_0000.nii.gz", out, run, device="cpu", uncertainty=True)
    assert report.failed == []
    volume = images.read(out)
    np.testing.assert_array_equal(volume.array, truth(2))
    np.testing.assert_allclose(volume.grid.affine, OBLIQUE, atol=1e-5)
    names = sorted(p.name for p in out.parent.iterdir())
    assert names == ["mine.json", "mine.mha", "mine_entropy.nii.gz"]


def test_pictures_keep_their_spacing_file(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    grid = Grid((14, 11), np.diag([0.5, 0.25, 1.0, 1.0]))
    images.write(folder / "a.png", truth(3, (14, 11)), grid)
    run = make_run(tmp_path / "run", make_plan(dim=2))
    report = predict(folder, out, run, device="cpu")
    assert report.failed == []
    found = images.read_label(out / "a.png")
    np.testing.assert_array_equal(found.array, truth(3, (14, 11)))
    assert found.grid.spacing == (0.5, 0.25)
    record = json.loads((out / "a.json").read_text())
    assert record["unit"] == "mm2"
    assert record["sizes"]["structure 1"] == pytest.approx(truth(3, (14, 11)).sum() * 0.125)
    assert [case.status for case in predict(folder, out, run, device="cpu").cases] == ["skipped"]


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("chosen", [{}, {"structure 1": "#ff0000"}])
def test_predicted_pictures_show_their_classes(tmp_path: Path, ending: str, chosen: dict[str, str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    picture = truth(3, (14, 11)) * np.uint8(1)
    Image.fromarray(picture).save(folder / f"a{ending}")
    plan = make_plan(dim=2, classes=3, colors=chosen)
    report = predict(folder, out, make_run(tmp_path / "run", plan), device="cpu", uncertainty=True)
    assert report.failed == []
    label = next(p for p in out.iterdir() if p.stem == "a" and p.suffix != ".json")
    np.testing.assert_array_equal(images.read_label(label).array, truth(3, (14, 11)))
    shown = images.read(label).array[truth(3, (14, 11)) == 1]
    assert {tuple(color) for color in shown.tolist()} == {(255, 0, 0) if chosen else (0xE6, 0x9F, 0)}
    doubt = out / ("a_entropy.nii.gz" if ending == ".tif" else "a_entropy.png")
    assert images.read(doubt).array.shape == (14, 11)
    record = json.loads((out / "a.json").read_text())
    assert (record["unit"], record["grid"]["unit"], "spacing" in record) == ("px", "px", False)
    assert record["sizes"]["structure 1"] == (truth(3, (14, 11)) == 1).sum()


def test_dicom_becomes_nifti(shared_data: Path, tmp_path: Path) -> None:
    study = shared_data / "raw-samples" / "dicom_hippocampus" / "Study1"
    report = predict(study, tmp_path / "out", make_run(tmp_path / "run"), device="cpu")
    assert [case.id for case in report.done] == ["Study1"]
    assert nib.load(tmp_path / "out" / "Study1.nii.gz").ndim == 3
    assert json.loads((tmp_path / "out" / "Study1.json").read_text())["inputs"] == [str(study)]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_reading_ahead_changes_nothing(scans: Path, run: Path, tmp_path: Path, workers: int) -> None:
    report = predict(scans, tmp_path / "out", run, device="cpu", workers=workers)
    assert [case.id for case in report.done] == ["case0", "case1", "case2"]
    for k in range(3):
        found = nib.load(tmp_path / "out" / f"case{k}.nii.gz")
        np.testing.assert_array_equal(np.asarray(found.dataobj), truth(k))


def test_options_reach_the_model(scans: Path, run: Path, tmp_path: Path) -> None:
    report = predict(scans, tmp_path / "a", run, device="cpu", quality="best", overrides={"minimum_mm3": 2.0})
    assert (report.options["mirror"], report.options["minimum_mm3"]) == (True, 2.0)
    assert not predict(scans, tmp_path / "b", run, device="cpu", quality="best", mirror=False).options[
        "mirror"
    ]
    assert report.options["mirrored_axes"] == [[0]]
    with pytest.raises(UsageError, match="unknown quality 'fast'"):
        predict(scans, tmp_path / "c", run, device="cpu", quality="fast")
    with pytest.raises(UsageError, match="Did you mean 'best'"):
        predict(scans, tmp_path / "c", run, device="cpu", quality="bset")
    with pytest.raises(UsageError, match="overlap"):
        predict(scans, tmp_path / "c", run, device="cpu", overrides={"overlap": 2})
    assert not (tmp_path / "c").exists()


def test_out_of_memory_ends_the_run_with_a_report(
    scans: Path, run: Path, tmp_path: Path, monkeypatch
) -> None:
    def no_room(*_, **__):
        raise DeviceError("no room")

    monkeypatch.setattr(Model, "infer", no_room)
    with pytest.raises(DeviceError):
        predict(scans, tmp_path / "out", run, device="cpu")
    report = json.loads((tmp_path / "out" / "prediction_report.json").read_text())
    assert report["interrupted"]
    assert report["cases"] == []


def test_some_of_the_scans(scans: Path, run: Path, tmp_path: Path) -> None:
    report = predict(scans, tmp_path / "out", run, device="cpu", cases=["case1"])
    assert [case.id for case in report.cases] == ["case1"]
    with pytest.raises(DataError, match="no scan nowhere"):
        predict(scans, tmp_path / "out", run, device="cpu", cases=["nowhere"])


def test_mirroring_of_a_model_that_was_trained_without_is_told_once(
    scans: Path, tmp_path: Path, caplog
) -> None:
    run = make_run(tmp_path / "run", content={"mirrored": []})
    mirrored = make_run(tmp_path / "other", shift=0.1, content={"mirrored": [0]})
    plain = predict(scans, tmp_path / "plain", run, device="cpu")
    assert not caplog.records
    report = predict(scans, tmp_path / "best", run, device="cpu", mirror=True)
    assert [r.getMessage() for r in caplog.records] == [
        "this model was trained without mirrored images: no mirrored views are averaged there"
    ]
    assert report.options["mirrored_axes"] == plain.options["mirrored_axes"] == [[]]
    caplog.clear()
    predict(scans, tmp_path / "both", [run, mirrored], device="cpu", mirror=True)
    assert [r.getMessage()[:24] for r in caplog.records] == ["1 of 2 were trained with"]
