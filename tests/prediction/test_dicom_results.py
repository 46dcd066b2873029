"""Predictions of DICOM series as DICOM: the same voxels at the same places, whoever reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from tests.images import synthetic_dicom as made
from tests.trained import make_plan, make_run

from semiseg import images
from semiseg.errors import UsageError
from semiseg.images.dicom_contours import outlines
from semiseg.prediction.assembly import Segmentation
from semiseg.prediction.model import Model
from semiseg.prediction.predict import predict
from semiseg.prediction.results import WRITERS, Finished

highdicom = pytest.importorskip("highdicom", reason='needs `pip install "semiseg[dicom]"`')

SHAPE = (9, 8, 7)
TILT = np.array([0.0, 2.5 * np.tan(np.radians(15)), 2.5])
TERMS = {
    "structure 1": {
        "category": ["123037004", "SCT", "Anatomical Structure"],
        "type": ["59652004", "SCT", "Atrium"],
        "color": "#ff0000",
    }
}
SERIES: dict[str, dict[str, Any]] = {
    "axial": {"orientation": made.AXIAL},
    "sagittal": {"orientation": made.SAGITTAL},
    "coronal": {"orientation": made.CORONAL, "numbers": [7, 6, 5, 4, 3, 2, 1]},
    "oblique": {"orientation": made.OBLIQUE, "numbers": [3, 1, 2, 7, 6, 5, 4]},
    "tilted": {"step": TILT},
    "tilted, from the feet": {"step": -TILT, "numbers": [7, 6, 5, 4, 3, 2, 1]},
}


def stored() -> np.ndarray:
    """(columns, rows, slices): classes 0 to 2 at random, a hole, and slices without any."""
    array = np.random.default_rng(0).integers(0, 3, SHAPE)
    array[..., 0] = array[..., 4] = 0
    array[1:8, 1:7, 2], array[3:5, 3:5, 2] = 1, 0
    return array.astype(np.int16)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("model") / "run", make_plan(classes=3))


Found = dict[tuple[float, ...], int]
"""Place in LPS mm -> class, foreground alone."""


def found_in(labels: np.ndarray, affine: np.ndarray) -> Found:
    index = np.argwhere(labels)
    places = np.round((affine @ np.c_[index, np.ones(len(index))].T)[:3].T, 2) + 0.0
    return {tuple(place): int(labels[tuple(at)]) for place, at in zip(places.tolist(), index, strict=True)}


def expected(volume: Path) -> Found:
    label = images.read(volume)
    return found_in(label.array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ label.grid.affine)


def frames_of(path: Path) -> Found:
    """By the position and orientation of each frame, as the standard's own formula has them."""
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    turn = [float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    found: Found = {}
    for frame, group in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = np.multiply(turn[:3], column_mm), np.multiply(turn[3:], row_mm)
        affine[:3, 3] = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        number = 1
        if "SegmentIdentificationSequence" in group:
            number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        found |= found_in(frame.T[..., None].astype(int) * number, affine)
    return found


def inside(ring: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Whose centers the ring encloses, by the even-odd rule; ring and centers in voxels."""
    x, y = (axis + 1e-6 for axis in np.meshgrid(*map(np.arange, shape), indexing="ij"))
    odd = np.zeros(shape, bool)
    for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, 0), strict=True):
        if y1 != y2:
            odd ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return odd


def contours_of(path: Path, volume: Path) -> Found:
    label = images.read(volume)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ label.grid.affine
    masks = np.zeros((3, *label.array.shape), bool)
    for roi in pydicom.dcmread(path).ROIContourSequence:
        for contour in roi.ContourSequence:
            points = np.reshape([float(v) for v in contour.ContourData], (-1, 3))
            index = (np.linalg.inv(lps) @ np.c_[points, np.ones(len(points))].T)[:3].T
            k = round(float(index[0, 2]))
            np.testing.assert_allclose(index[:, 2], k, atol=1e-3)  # in the plane of its slice
            masks[int(roi.ReferencedROINumber), ..., k] ^= inside(index[:, :2], label.array.shape[:2])
    return found_in(masks[1] + 2 * masks[2], lps)


@pytest.mark.parametrize("name", SERIES)
def test_every_reader_finds_the_voxels_where_they_lie(
    name: str, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made.write_series(tmp_path / "in" / "scan", stored(), **SERIES[name])
    out = tmp_path / "out"
    report = predict(
        tmp_path / "in",
        out,
        run,
        device="cpu",
        to="nifti,dicom-seg,dicom-labelmap,rtstruct",
        terminology=TERMS,
    )
    (case,) = report.done
    paths = {kind: Path(path) for kind, path in case.outputs.items()}
    wanted = expected(paths["labels"])
    assert ("tilted by 15.0 degrees" in caplog.text) == ("tilted" in name)
    assert sorted(wanted.values()).count(1) == (stored() == 1).sum()
    assert frames_of(paths["dicom-seg"]) == wanted
    assert frames_of(paths["dicom-labelmap"]) == wanted
    assert contours_of(paths["rtstruct"], paths["labels"]) == wanted
    if "tilted" not in name:  # the others build upright volumes only
        for kind in ("dicom-seg", "dicom-labelmap"):
            volume = highdicom.seg.segread(paths[kind]).get_volume(combine_segments=True)
            assert found_in(volume.array, volume.affine) == wanted
        sitk = pytest.importorskip("SimpleITK")
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "in" / "scan"))
        image = sitk.ReadImage(names)
        values = sitk.GetArrayFromImage(image).T
        places = {
            tuple(np.round(image.TransformIndexToPhysicalPoint(i.tolist()), 2) + 0.0): int(values[tuple(i)])
            for i in np.argwhere(values)
        }
        assert places == wanted  # the scan's voxels are their own classes
    files = {str(pydicom.dcmread(f).SOPInstanceUID) for f in (tmp_path / "in").rglob("*.dcm")}
    contours = pydicom.dcmread(paths["rtstruct"]).ROIContourSequence[0].ContourSequence
    assert {str(c.ContourImageSequence[0].ReferencedSOPInstanceUID) for c in contours} <= files


def test_volumes_count_what_a_voxel_of_a_tilted_stack_has(run: Path, tmp_path: Path) -> None:
    made.write_series(tmp_path / "in" / "scan", stored(), step=TILT)
    predict(tmp_path / "in", tmp_path / "out", run, device="cpu", volumes=tmp_path / "volumes.csv")
    head, row = (line.split(",") for line in (tmp_path / "volumes.csv").read_text().splitlines())
    assert head == ["case", "status", "unit", "structure 1", "structure 2"]
    assert row[:3] == ["scan", "done", "mL"]
    assert float(row[3]) == pytest.approx((stored() == 1).sum() * 0.7 * 0.9 * 2.5 / 1000, abs=1e-4)


def test_codes_and_colors_are_those_of_the_dataset(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made.write_series(tmp_path / "in" / "scan", stored())
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {}, "terminology": TERMS}))
    given = {"to": ["dicom-seg", "rtstruct"], "terminology": tmp_path / "dataset.json"}
    predict(tmp_path / "in", tmp_path / "out", run, device="cpu", **given)
    assert "no DICOM codes for structure 2: written as 85756007 SCT Tissue" in caplog.text
    segments = pydicom.dcmread(tmp_path / "out" / "scan.seg.dcm").SegmentSequence
    assert [s.SegmentLabel for s in segments] == ["structure 1", "structure 2"]
    codes = [s.SegmentedPropertyTypeCodeSequence[0] for s in segments]
    assert [(c.CodeValue, c.CodeMeaning) for c in codes] == [("59652004", "Atrium"), ("85756007", "Tissue")]
    assert segments[0].SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    rois = pydicom.dcmread(tmp_path / "out" / "scan.rtstruct.dcm").ROIContourSequence
    assert list(rois[0].ROIDisplayColor) == [255, 0, 0]
    wrong = {"to": "dicom-seg", "terminology": {"liver": TERMS["structure 1"]}}
    with pytest.raises(UsageError, match="liver is not a class"):
        predict(tmp_path / "in", tmp_path / "out", run, device="cpu", **wrong)


def test_the_patient_is_in_what_dicom_must_copy_and_nowhere_else(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made.write_series(tmp_path / "in" / "scan", stored())
    wanted = {"to": "nifti,png,dicom-seg,rtstruct", "uncertainty": True, "save_probabilities": True}
    table = tmp_path / "out" / "volumes.csv"
    predict(tmp_path / "in", tmp_path / "out", run, device="cpu", volumes=table, **wanted)
    for name in ("scan.seg.dcm", "scan.rtstruct.dcm"):
        dataset = pydicom.dcmread(tmp_path / "out" / name)
        assert str(dataset.PatientName) == made.PATIENT
        assert dataset.Manufacturer == "semiseg"
        assert "SECRET" not in f"{dataset.SeriesDescription} {dataset.get('ContentCreatorName', '')}"
    others = [p for p in (tmp_path / "out").iterdir() if p.suffix != ".dcm"]
    assert len(others) == 7
    assert not [p.name for p in others if b"SECRET" in p.read_bytes()]
    assert "SECRET" not in caplog.text


def test_frames_of_one_file_and_scans_without_findings(run: Path, tmp_path: Path) -> None:
    order = [3, 0, 6, 1, 5, 2, 4]
    made.write_enhanced(tmp_path / "in" / "a" / "multi.dcm", (stored() - 1) // 2, order)
    made.write_series(tmp_path / "in" / "b", stored() * 0)
    report = predict(tmp_path / "in", tmp_path / "out", run, device="cpu", to="nifti,dicom-seg,rtstruct")
    assert not report.failed
    for case in report.done:
        paths = {kind: Path(path) for kind, path in case.outputs.items()}
        wanted = expected(paths["labels"])
        assert bool(wanted) == (case.id == "a")
        assert frames_of(paths["dicom-seg"]) == wanted
        assert contours_of(paths["rtstruct"], paths["labels"]) == wanted


def test_scans_that_are_no_series_are_told(run: Path, tmp_path: Path) -> None:
    made.write_series(tmp_path / "in" / "scan", stored())
    source = images.dicom.read_series(images.dicom.find_series(tmp_path / "in" / "scan")[0])
    images.write(tmp_path / "in" / "other" / "other.nii.gz", source.array, source.grid)
    report = predict(tmp_path / "in", tmp_path / "out", run, device="cpu", to="dicom-seg")
    assert [case.id for case in report.done] == ["scan"]
    (failed,) = report.failed
    assert failed.error is not None
    assert failed.error["code"] == "NOT_DICOM"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "prediction_report.json", "scan.json", "scan.seg.dcm",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="unknown form 'dicomseg'"):
        predict(tmp_path / "in", tmp_path / "out", run, device="cpu", to="dicomseg")
    with pytest.raises(UsageError, match="is one file"):
        predict(tmp_path / "in" / "scan", tmp_path / "a.nii.gz", run, device="cpu", to="dicom-seg")


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID"])
def test_headers_without_what_a_result_refers_to(name: str, run: Path, tmp_path: Path) -> None:
    for file in made.write_series(tmp_path / "in", stored()):
        header = pydicom.dcmread(file)
        delattr(header, name)
        header.save_as(file)
    report = predict(tmp_path / "in", tmp_path / "out", run, device="cpu", to="dicom-seg,rtstruct")
    assert f"the DICOM headers have no {name}" in report.failed[0].error["message"]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["prediction_report.json"]


def test_regions_overlap_in_a_segmentation(tmp_path: Path) -> None:
    regions = {"whole": (1, 2), "core": (2,)}
    plan = make_plan(classes=3, regions=regions, regions_class_order=(1, 2))
    model = Model.load(make_run(tmp_path / "regions", plan), "cpu")
    made.write_series(tmp_path / "in", stored())
    scan = images.dicom.read_series(images.dicom.find_series(tmp_path / "in")[0])
    finished = Finished("scan", Segmentation(scan.array), scan.grid, scan.meta, model)
    WRITERS["dicom-seg"](tmp_path / "scan.seg.dcm", finished)
    seg = pydicom.dcmread(tmp_path / "scan.seg.dcm")
    count = {1: 0, 2: 0}
    for frame, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        count[int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)] += int(frame.sum())
    assert count == {1: int((stored() > 0).sum()), 2: int((stored() == 2).sum())}
    with pytest.raises(UsageError, match="overlap"):
        predict(tmp_path / "in", tmp_path / "more", model, to="dicom-labelmap")


@pytest.mark.parametrize("seed", range(4))
def test_outlines_enclose_exactly_what_they_are_drawn_around(seed: int) -> None:
    mask = np.random.default_rng(seed).random((17, 13)) < 0.3 + 0.15 * seed
    rings = outlines(mask)
    found = np.zeros(mask.shape, bool)
    for ring in rings:
        found ^= inside(ring, mask.shape)
    np.testing.assert_array_equal(found, mask)
