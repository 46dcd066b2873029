"""DICOM series that are whole: any orientation, order, scale and container gives the voxels in place."""

from __future__ import annotations

import logging
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.images import synthetic_dicom as made

from semiseg import images
from semiseg.images import dicom
from semiseg.images.grid import Grid, Volume


def read_one(path: Path) -> Volume:
    series = dicom.find_series(path)
    assert len(series) == 1
    return dicom.read_series(series[0])


@pytest.mark.parametrize("orientation", [made.AXIAL, made.SAGITTAL, made.CORONAL, made.OBLIQUE])
@pytest.mark.parametrize("backwards", [False, True])
def test_every_orientation_lands_where_it_lies(
    tmp_path: Path, orientation: tuple[float, ...], backwards: bool
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    array = made.volume()
    numbers = list(range(array.shape[2], 0, -1)) if backwards else None
    made.write_series(tmp_path / "s", array, orientation=orientation, numbers=numbers)
    volume = read_one(tmp_path / "s")
    assert np.array_equal(volume.array, array)
    assert volume.grid.matches(Grid(array.shape, made.affine_of(orientation)))
    assert volume.meta["gantry_tilt_degrees"] == 0
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, volume.array)
    for index in ((0, 0, 0), (5, 4, 6), (1, 2, 3)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        assert np.allclose(lps * [-1, -1, 1], (volume.grid.affine @ [*index, 1])[:3], atol=1e-4)


@pytest.mark.parametrize("orientation", [made.AXIAL, made.OBLIQUE])
def test_dicom_to_nifti_to_simpleitk_is_the_same_place(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    made.write_series(tmp_path / "s", made.volume(), orientation=orientation)
    volume = read_one(tmp_path / "s")
    images.write(tmp_path / "a.nii.gz", volume.array, volume.grid, volume.meta)
    nifti = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    series = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    assert np.allclose(nifti.GetOrigin(), series.GetOrigin(), atol=1e-3)
    assert np.allclose(nifti.GetDirection(), series.GetDirection(), atol=1e-5)
    assert np.array_equal(sitk.GetArrayFromImage(nifti), sitk.GetArrayFromImage(series))


@pytest.mark.parametrize("degrees", [-20.0, 12.0])
def test_gantry_tilt_is_kept_as_shear(tmp_path: Path, degrees: float) -> None:
    array = made.volume()
    step = np.array([0.0, 2.5 * np.tan(np.radians(degrees)), 2.5])
    made.write_series(tmp_path, array, step=step)
    volume = read_one(tmp_path)
    assert np.array_equal(volume.array, array)
    assert volume.grid.matches(Grid(array.shape, made.affine_of(step=step)))
    assert volume.meta["gantry_tilt_degrees"] == pytest.approx(abs(degrees), abs=1e-3)
    images.write(tmp_path / "a.nii.gz", volume.array, volume.grid, volume.meta)
    assert images.read(tmp_path / "a.nii.gz").grid.matches(volume.grid)


def test_positions_with_rounding_noise_make_an_upright_grid(tmp_path: Path) -> None:
    noise = np.array([0.0005, -0.0004, 0.0])
    made.write_series(tmp_path, made.volume(), step=np.array([0, 0, 2.5]) + noise)
    volume = read_one(tmp_path)
    assert volume.meta["gantry_tilt_degrees"] == 0
    assert volume.grid.affine[0, 2] == 0


def test_whole_number_rescaling_keeps_integers(tmp_path: Path) -> None:
    array = made.volume()
    made.write_series(tmp_path, array, RescaleSlope="1", RescaleIntercept="-1024")
    volume = read_one(tmp_path)
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, array - 1024)


def test_each_slice_has_its_own_scale(tmp_path: Path) -> None:
    array = made.volume()
    scales = {k: {"RescaleSlope": f"{0.5 + k}", "RescaleIntercept": f"{-k}"} for k in range(7)}
    made.write_series(tmp_path, array, per_slice=scales, Modality="PT")
    volume = read_one(tmp_path)
    wanted = array * (0.5 + np.arange(7)) - np.arange(7)
    assert volume.array.dtype == np.float32
    assert np.allclose(volume.array, wanted, rtol=1e-6)


def test_instances_are_kept_in_slice_order(tmp_path: Path) -> None:
    import pydicom

    files = made.write_series(tmp_path, made.volume(), numbers=[3, 1, 2, 7, 6, 5, 4])
    volume = read_one(tmp_path)
    assert volume.meta["files"] == [str(f) for f in files]
    assert volume.meta["sop_instances"] == [str(pydicom.dcmread(f).SOPInstanceUID) for f in files]
    assert volume.meta["frames"] == [1] * 7


def test_multi_frame(tmp_path: Path) -> None:
    array = made.volume()
    path = made.write_enhanced(tmp_path / "multi.dcm", array, order=[3, 0, 6, 1, 5, 2, 4])
    volume = read_one(path)
    assert np.array_equal(volume.array, array * 2 + 1)
    assert volume.grid.matches(Grid(array.shape, made.affine_of()))
    assert volume.meta["frames"] == [2, 4, 6, 1, 7, 5, 3]


def test_header_without_pixels_and_single_slices(tmp_path: Path) -> None:
    files = made.write_series(tmp_path / "s", made.volume())
    header = dicom.read_series_header(dicom.find_series(tmp_path / "s")[0])
    assert header.grid.matches(read_one(tmp_path / "s").grid)
    assert header.dtype == "int16"
    alone = read_one(files[2])
    assert alone.array.shape == (6, 5, 1)
    assert alone.grid.spacing == pytest.approx((0.7, 0.9, 99.0))  # nothing but the thickness is left to go by


def test_zip_and_nested_folders_and_files_that_are_not_dicom(tmp_path: Path) -> None:
    made.write_series(tmp_path / "a" / "b" / "c", made.volume())
    (tmp_path / "a" / "readme.txt").write_text("hello")
    (tmp_path / "a" / "empty").write_bytes(b"")
    (tmp_path / "a" / "._000.dcm").write_bytes(b"macOS leaves these")
    folder = read_one(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in (tmp_path / "a").rglob("*"):
            archive.write(file, file.relative_to(tmp_path))
    packed = read_one(tmp_path / "a.zip")
    assert np.array_equal(folder.array, packed.array)
    assert folder.grid.matches(packed.grid)


def test_compressed_pixels(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    pixels = made.volume((30, 20, 1))[..., 0].astype(np.uint16)
    for codec in ("JPEG", "JPEG2000"):
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(tmp_path / f"{codec}.dcm"))
        writer.UseCompressionOn()
        writer.SetCompressor(codec)
        image = sitk.GetImageFromArray(pixels.T[None])
        for tag, value in {"0008|0060": "CT", "0028|1052": "-1024", "0028|1053": "1"}.items():
            image.SetMetaData(tag, value)
        writer.Execute(image)
        assert np.array_equal(read_one(tmp_path / f"{codec}.dcm").array[..., 0], pixels.astype(int))


def test_no_patient_attribute_reaches_meta_repr_or_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        uid = "1.2.SECRET"  # pydicom quotes values that break the rules
        made.write_series(tmp_path, made.volume(), step=np.array([0.0, 1.0, 2.5]), SeriesInstanceUID=uid)
    caplog.clear()
    series = dicom.find_series(tmp_path)
    volume = dicom.read_series(series[0])
    assert series[0].modality == "CT"
    told = repr(series) + repr({k: v for k, v in volume.meta.items() if k != "series_instance"}) + caplog.text
    assert "SECRET" not in told
    assert "tilt" in caplog.text


def test_real_series_agree_with_simpleitk(shared_data: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    root = shared_data / "raw-samples" / "dicom_hippocampus"
    found = dicom.find_series(root)
    assert len(found) == 3
    for series in found:
        volume = dicom.read_series(series)
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(series.files[0].parent))
        image = sitk.ReadImage(names)
        assert np.array_equal(sitk.GetArrayFromImage(image).T, volume.array)
        last = tuple(n - 1 for n in volume.array.shape)
        for index in ((0, 0, 0), last, (1, 2, 3)):
            lps = np.array(image.TransformIndexToPhysicalPoint(index))
            assert np.allclose(lps * [-1, -1, 1], (volume.grid.affine @ [*index, 1])[:3], atol=1e-6)
        assert len(set(volume.meta["sop_instances"])) == volume.array.shape[2]
