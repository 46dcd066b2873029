"""Arrays and images in memory: what comes in goes out, on the same voxels as prediction of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from tests.prediction.test_prediction import OBLIQUE, truth
from tests.trained import make_plan, make_run

import semiseg
from semiseg.errors import DataError, UsageError
from semiseg.preparation.plan import ChannelPlan

sitk = pytest.importorskip("SimpleITK")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return semiseg.Model.load(make_run(tmp_path_factory.mktemp("model") / "run"), "cpu")


def itk(array: np.ndarray, affine: np.ndarray = OBLIQUE) -> Any:
    """A SimpleITK image of (x, y, z), as SimpleITK itself reads the NIfTI file of it."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def test_an_array_gives_an_array(model: Any) -> None:
    wanted = truth(0)
    labels = model.segment(wanted.astype(np.float32), spacing=(1.5, 1, 3))
    assert isinstance(labels, np.ndarray)
    np.testing.assert_array_equal(labels, wanted)
    found = model.segment(wanted, spacing=(1.5, 1, 3), probabilities=True, uncertainty=True)
    assert found.probabilities.shape == (2, *wanted.shape)
    assert found.uncertainty.shape == wanted.shape
    assert found.volumes["structure 1"] == pytest.approx(wanted.sum() * 4.5 / 1000, abs=1e-4)
    assert found.names == {"background": 0, "structure 1": 1}
    assert found._repr_png_()[:4] == b"\x89PNG"


def test_images_give_images_on_the_same_grid(model: Any) -> None:
    wanted = truth(0)
    label = model.segment(nib.Nifti1Image(wanted.astype(np.float32), OBLIQUE))
    assert isinstance(label, nib.Nifti1Image)
    np.testing.assert_array_equal(np.asarray(label.dataobj), wanted)
    np.testing.assert_array_equal(label.affine, OBLIQUE)
    image = itk(wanted.astype(np.float32))
    found = model.segment(image, probabilities=True)
    assert isinstance(found.labels, sitk.Image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found.labels).T, wanted)
    assert found.labels.GetDirection() == image.GetDirection()
    assert found.labels.GetOrigin() == image.GetOrigin()
    assert found.probabilities.GetNumberOfComponentsPerPixel() == 2


def test_channels_in_every_form(tmp_path: Path) -> None:
    several = semiseg.Model.load(make_run(tmp_path / "run", make_plan(classes=2, channels=2)), "cpu")
    wanted = truth(1)
    parts = [wanted.astype(np.float32) + 0.2, wanted.astype(np.float32) - 0.2]
    for given in (
        np.stack(parts),
        parts,
        nib.Nifti1Image(np.stack(parts, -1), OBLIQUE),
        [nib.Nifti1Image(part, OBLIQUE) for part in parts],
    ):
        more = {"spacing": (1, 1, 1)} if isinstance(given, np.ndarray) or given is parts else {}
        labels = several.segment(given, **more)
        np.testing.assert_array_equal(np.asanyarray(getattr(labels, "dataobj", labels)), wanted)
    with pytest.raises(DataError, match="got 1 channel, wanted 2"):
        several.segment(nib.Nifti1Image(parts[0], OBLIQUE))
    with pytest.raises(DataError, match="wanted \\(C, \\*S\\)"):
        several.segment(parts[0][0])


def test_a_picture_has_rows_first_and_colors_last(tmp_path: Path) -> None:
    channels = tuple(ChannelPlan(name=name, scheme="rgb_to_0_1") for name in "RGB")
    photos = semiseg.Model.load(make_run(tmp_path / "run", make_plan(dim=2, channels=channels)), "cpu")
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:8] = 255
    labels = photos.segment(picture)
    assert labels.shape == (20, 30)
    assert labels[:8].all()
    assert not labels[8:].any()


def test_what_cannot_be_meant_is_told(model: Any, tmp_path: Path) -> None:
    scan = truth(0)
    fixed = semiseg.Model.load(make_run(tmp_path / "run", make_plan(spacing=(2, 1, 1))), "cpu")
    with pytest.raises(UsageError, match="voxel size of 2 x 1 x 1 mm"):
        fixed.segment(scan)
    assert fixed.segment(scan, spacing=(1, 1, 1)).shape == scan.shape
    for given, more, kind, told in (
        (scan, {"spacing": (1, 1)}, DataError, "spacing .* does not fit"),
        (scan, {"spacing": (1, 0, 1)}, DataError, "spacing .* does not fit"),
        (scan[0, 0], {}, DataError, "got an array of shape"),
        (scan.astype(str), {}, DataError, "wanted numbers"),
        (nib.Nifti1Image(scan, OBLIQUE), {"spacing": (1, 1, 1)}, UsageError, "has its own"),
        (scan.astype(float) * np.nan, {}, DataError, "NaN"),
    ):
        with pytest.raises(kind, match=told):
            model.segment(given, **more)


def test_a_run_segments_as_predict_does(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "config.yaml").write_text("{}\n")
    make_plan().save(run / "plan.json")
    nib.save(nib.Nifti1Image(truth(2).astype(np.float32), OBLIQUE), tmp_path / "scan.nii.gz")
    opened = semiseg.load_run(run)
    semiseg.predict(tmp_path / "scan.nii.gz", tmp_path / "label.nii.gz", run, device="cpu")
    written = nib.load(tmp_path / "label.nii.gz")
    label = opened.segment(nib.load(tmp_path / "scan.nii.gz"))
    np.testing.assert_array_equal(np.asarray(label.dataobj), np.asarray(written.dataobj))
    assert opened._loaded is opened._loaded


def test_scores_of_arrays_are_those_of_files(tmp_path: Path) -> None:
    for part, seed in (("labels", 0), ("predictions", 1)):
        (tmp_path / part).mkdir()
        nib.save(
            nib.Nifti1Image(truth(seed, classes=3), np.diag([1.5, 1, 3, 1])), tmp_path / part / "case.nii.gz"
        )
    files = semiseg.evaluate(tmp_path / "labels", tmp_path / "predictions")
    arrays = semiseg.evaluate(truth(0, classes=3), truth(1, classes=3), spacing=(1.5, 1, 3))
    assert arrays.cases[0].metrics == files.cases[0].metrics
    named = semiseg.evaluate(truth(0, classes=3), truth(1, classes=3), labels={"core": 2, "ignore": 1})
    assert list(named.labels) == ["core"]
    assert named.spacing_unit == "px"
    upright = np.diag([1.5, 1, 3, 1.0])
    mirrored = np.diag([-1.5, 1, 3, 1.0])
    mirrored[0, 3] = 12 * 1.5
    same = semiseg.evaluate(itk(truth(0), upright), itk(truth(0)[::-1], mirrored))
    assert same.mean("Dice") == 1
    mirrored[0, 3] += 40
    with pytest.raises(DataError, match="different grids"):
        semiseg.evaluate(itk(truth(0), upright), itk(truth(0)[::-1], mirrored))
    with pytest.raises(DataError, match="shape"):
        semiseg.evaluate(truth(0), truth(0)[1:])
    with pytest.raises(DataError, match="not whole numbers"):
        semiseg.evaluate(truth(0), truth(0) * 0.5)
    with pytest.raises(UsageError, match="got a PosixPath and a ndarray"):
        semiseg.evaluate(tmp_path / "labels", truth(0))
    cases = semiseg.evaluate(
        {"a": truth(0), "b": truth(1)}, {"a": truth(0), "b": truth(1)}, spacing=(1, 1, 1)
    )
    assert [case.case for case in cases.cases] == ["a", "b"]
    assert cases.mean("Dice") == 1
