"""What prediction writes beside the label map: overlays, probabilities, tables; and several folds at once."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.prediction.test_prediction import OBLIQUE, make_scans, truth
from tests.trained import make_plan, make_run

from semiseg.errors import UsageError
from semiseg.images import write
from semiseg.images.grid import Grid
from semiseg.prediction.model import Model
from semiseg.prediction.packaged import expanded
from semiseg.prediction.predict import predict
from semiseg.preparation.plan import ChannelPlan


def test_probabilities_lie_on_the_grid_of_the_scan(tmp_path: Path) -> None:
    scans, run = make_scans(tmp_path / "scans", 1), make_run(tmp_path / "run")
    report = predict(scans, tmp_path / "out", run, device="cpu", save_probabilities=True)
    assert set(report.done[0].outputs) == {"labels", "probabilities"}
    with np.load(tmp_path / "out" / "case0_probabilities.npz", allow_pickle=False) as found:
        assert found["probabilities"].dtype == np.float16
        np.testing.assert_array_equal(found["probabilities"].argmax(0), truth(0))
        np.testing.assert_allclose(found["probabilities"].sum(0), 1, atol=2e-3)
        assert found["names"].tolist() == ["background", "structure 1"]
        np.testing.assert_allclose(found["affine"], OBLIQUE, atol=1e-5)


def test_other_results_are_made_for_scans_that_are_there_already(tmp_path: Path) -> None:
    scans, run, out = make_scans(tmp_path / "scans", 2), make_run(tmp_path / "run"), tmp_path / "out"
    predict(scans, out, run, device="cpu")
    report = predict(scans, out, run, device="cpu", overlay=True, volumes=tmp_path / "volumes.csv")
    assert len(report.done) == 2
    again = predict(scans, out, run, device="cpu", overlay=True, volumes=tmp_path / "volumes.csv")
    assert len(again.skipped) == 2
    with (tmp_path / "volumes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["skipped"] * 2
    for k, row in enumerate(rows):
        assert float(row["structure 1"]) == pytest.approx(truth(k).sum() * 4.5 / 1000, abs=1e-4)
    (tmp_path / "mine.csv").write_text("a,b\n")
    with pytest.raises(UsageError, match=r"mine\.csv exists and is not a table"):
        predict(scans, out, run, device="cpu", volumes=tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "a,b\n"


def test_to_nifti_whatever_the_scan_is(tmp_path: Path) -> None:
    write(tmp_path / "in" / "scan.nrrd", truth(0).astype(np.float32), Grid(truth(0).shape, OBLIQUE))
    predict(tmp_path / "in", tmp_path / "out", make_run(tmp_path / "run"), device="cpu", to="nifti")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "prediction_report.json", "scan.json", "scan.nii.gz",
    ]  # fmt: skip
    label = nib.load(tmp_path / "out" / "scan.nii.gz")
    np.testing.assert_array_equal(np.asarray(label.dataobj), truth(0))
    np.testing.assert_allclose(label.affine, OBLIQUE, atol=1e-5)


@pytest.mark.parametrize("kind", ["volume", "photo"])
def test_an_overlay_shows_scan_and_outlines(kind: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    if kind == "volume":
        run = make_run(tmp_path / "run")
        ball = np.zeros((20, 24, 16), np.float32)
        ball[6:14, 5:15, 4:12] = 1
        nib.save(nib.Nifti1Image(ball, np.diag([1, 1, 3, 1.0])), tmp_path / "in" / "scan.nii.gz")
    else:
        channels = tuple(ChannelPlan(name=name, scheme="rgb_to_0_1") for name in "RGB")
        run = make_run(tmp_path / "run", make_plan(dim=2, channels=channels))
        picture = np.zeros((48, 32, 3), np.uint8)
        picture[:16], picture[16:] = (255, 0, 255), (0, 60, 0)
        Image.fromarray(picture).save(tmp_path / "in" / "scan.png")
    predict(tmp_path / "in", tmp_path / "out", run, device="cpu", to="png")
    with Image.open(tmp_path / "out" / "scan_overlay.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB")).reshape(-1, 3).astype(int)
    orange = np.abs(pixels - (230, 159, 0)).max(1) < 30
    assert orange.sum() > 200  # outline and legend
    if kind == "photo":
        assert ((pixels == (255, 0, 255)).all(1)).sum() > 5000
    assert not (tmp_path / "out" / "scan.nii.gz").exists()


def test_folds_and_patterns_make_an_ensemble(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"labeled-8_fold-{fold}_seed-0", shift=0.1 * fold) for fold in (0, 1, 2)]
    make_run(tmp_path / "labeled-8_fold-0_seed-1")
    (tmp_path / "labeled-8_fold-x_seed-0").mkdir()
    assert expanded([runs[1]], "all") == runs
    assert expanded([runs[1]], "0,2") == expanded([runs[0]], [2, 0]) == [runs[0], runs[2]]
    assert expanded([tmp_path / "labeled-8_fold-*_seed-0"]) == runs
    assert len(Model.load(tmp_path / "labeled-*", "cpu").members) == 4
    assert len(Model.load(runs[0], "cpu", folds="all").members) == 3
    for paths, folds, told in (
        ([runs[0]], "0,3", r"no fold 3 beside .* \(available: 0, 1, 2\)"),
        ([runs[0]], "two", "are not numbers"),
        ([tmp_path], "all", "is not named as one fold"),
        ([tmp_path / "nothing-*"], None, "fits nothing"),
    ):
        with pytest.raises(UsageError, match=told):
            expanded(paths, folds)
