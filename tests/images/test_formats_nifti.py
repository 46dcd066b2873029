"""NIfTI: affines, codes, scale factors and the shapes that real files come in."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from semiseg import images
from semiseg.errors import DataError
from semiseg.images.grid import Grid

SHEARED = np.array([[1.0, 0.25, 0, 5], [0, 2, 0.5, -6], [0.1, 0, 3, 7], [0, 0, 0, 1]])


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None, **header: float) -> Path:
    image = nib.Nifti1Image(array, SHEARED if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def test_sheared_affine_is_kept_bit_for_bit(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.ones((3, 4, 5), np.int16))
    volume = images.read(path)
    assert np.array_equal(volume.grid.affine, nib.load(path).affine)
    images.write(tmp_path / "b.nii.gz", volume.array, volume.grid, volume.meta)
    back = nib.load(tmp_path / "b.nii.gz")
    assert np.array_equal(back.affine, nib.load(path).affine)
    assert back.get_data_dtype() == np.int16


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (2, 1), (4, 0), (0, 1), (3, 2), (0, 0)])
def test_codes_and_units_come_back(tmp_path: Path, sform: int, qform: int) -> None:
    affine = np.diag([-0.9, 0.9, 2.5, 1.0])
    affine[:3, 3] = (10, 20, 30) if sform or qform else (0.9, -1.35, -5.0)
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), None)
    image.header.set_zooms((0.9, 0.9, 2.5))
    image.set_sform(affine if sform else None, sform)
    image.set_qform(affine if qform else None, qform)
    image.header["xyzt_units"] = 10
    image.to_filename(tmp_path / "a.nii")
    volume = images.read(tmp_path / "a.nii")
    assert np.allclose(volume.grid.affine, nib.load(tmp_path / "a.nii").affine)
    assert volume.meta["sform_code"] == sform
    assert volume.meta["qform_code"] == qform
    images.write(tmp_path / "b.nii", volume.array, volume.grid, volume.meta)
    header = nib.load(tmp_path / "b.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (sform, qform)
    assert int(header["xyzt_units"]) == 10
    assert images.read(tmp_path / "b.nii").grid.matches(volume.grid)


def test_sform_wins_over_qform(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), SHEARED)
    image.set_qform(np.eye(4), 1)
    image.set_sform(SHEARED, 2)
    nib.save(image, tmp_path / "a.nii")
    assert np.allclose(images.read(tmp_path / "a.nii").grid.affine, SHEARED)


@pytest.mark.parametrize(
    ("slope", "inter", "dtype"),
    [
        (1, -1024, "int16"),
        (0.5, 3, "float32"),
        (np.nan, 0, "uint16"),
        (0, 5, "uint16"),
        (140000, 0, "int64"),
        (-2, 7, "int32"),
    ],
)
def test_scale_factors(tmp_path: Path, slope: float, inter: float, dtype: str) -> None:
    stored = np.array([0, 1, 2000, 30000], np.uint16).reshape(2, 2, 1)
    image = nib.Nifti1Image(stored, np.eye(4))
    image.to_filename(tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([slope, inter], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    volume = images.read(tmp_path / "a.nii")
    assert volume.array.dtype == np.dtype(dtype)
    assert np.allclose(volume.array, nib.load(tmp_path / "a.nii").get_fdata())


def test_shapes(tmp_path: Path) -> None:
    assert images.read(save(tmp_path / "a.nii", np.ones((3, 4, 1), np.uint8))).array.shape == (3, 4, 1)
    assert images.read(save(tmp_path / "b.nii", np.ones((3, 4), np.uint8))).array.shape == (3, 4)
    assert images.read(save(tmp_path / "c.nii", np.ones((3, 4, 5, 1, 1), np.uint8))).array.shape == (3, 4, 5)
    for call in (images.read, images.read_header):
        with pytest.raises(DataError) as caught:
            call(save(tmp_path / "d.nii", np.ones((3, 4, 5, 2), np.uint8)))
        assert caught.value.code == "NOT_3D"
        assert caught.value.details["shape"] == [3, 4, 5, 2]


def test_2d_keeps_slice_thickness_in_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.ones((3, 4), np.uint8), np.diag([1.5, 1.5, 8.0, 1.0]))
    volume = images.read(path)
    assert np.array_equal(volume.grid.affine, np.diag([1.5, 1.5, 1.0, 1.0]))
    images.write(tmp_path / "b.nii", volume.array, volume.grid, volume.meta)
    assert np.allclose(nib.load(tmp_path / "b.nii").affine, np.diag([1.5, 1.5, 8.0, 1.0]))


def test_microns_become_millimeters(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.ones((3, 4, 5), np.uint8), np.diag([50.0, 50, 100, 1]), xyzt_units=3)
    volume = images.read(path)
    assert volume.grid.spacing == pytest.approx((0.05, 0.05, 0.1))
    assert volume.meta["xyzt_units"] == 2


def test_gzip_is_recognized_by_content_and_may_have_members(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    raw = path.read_bytes()
    (tmp_path / "named_plain.nii").write_bytes(gzip.compress(raw))
    (tmp_path / "named_gz.nii.gz").write_bytes(raw)
    (tmp_path / "members.nii.gz").write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]) + bytes(64))
    for name in ("named_plain.nii", "named_gz.nii.gz", "members.nii.gz"):
        assert np.array_equal(images.read(tmp_path / name).array, images.read(path).array)


def test_nifti2_and_big_endian_and_color(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int32).reshape(3, 4, 5)
    nib.save(nib.Nifti2Image(array, SHEARED), tmp_path / "two.nii.gz")
    assert np.array_equal(images.read(tmp_path / "two.nii.gz").array, array)
    header = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(array.astype(">i4"), SHEARED, header), tmp_path / "big.nii")
    assert np.array_equal(images.read(tmp_path / "big.nii").array, array)
    rgb = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = 7
    nib.save(nib.Nifti1Image(rgb, SHEARED), tmp_path / "rgb.nii")
    volume = images.read(tmp_path / "rgb.nii")
    assert images.read_header(tmp_path / "rgb.nii").channels == 3
    assert volume.array.shape == (3, 4, 5, 3)
    assert volume.array[..., 1].min() == 7
    assert volume.array[..., 0].max() == 0


def test_long_axes_are_written_as_nifti2(tmp_path: Path) -> None:
    array = np.ones((40000, 2, 2), np.uint8)
    images.write(tmp_path / "long.nii.gz", array, Grid(array.shape, np.eye(4)))
    assert isinstance(nib.load(tmp_path / "long.nii.gz"), nib.Nifti2Image)
    assert images.read(tmp_path / "long.nii.gz").array.shape == (40000, 2, 2)


def test_nothing_of_the_input_header_that_may_name_a_patient_is_written(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.ones((3, 4, 5), np.uint8), descrip=b"DOE^JOHN", aux_file=b"DOE")
    volume = images.read(path)
    assert "DOE" not in repr(volume.meta)
    images.write(tmp_path / "b.nii", volume.array, volume.grid, volume.meta)
    assert b"DOE" not in (tmp_path / "b.nii").read_bytes()


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        images.write(tmp_path / name, np.ones((3, 4, 5), np.uint8), Grid((3, 4, 5), SHEARED))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_real_scans_as_nibabel_reads_them(shared_data: Path) -> None:
    for folder in ("Dataset101_LeftAtrium", "Dataset102_ACDC", "Dataset104_Hippocampus"):
        path = sorted((shared_data / folder / "imagesTr").iterdir())[0]
        volume, image = images.read(path), nib.load(path)
        assert np.array_equal(volume.grid.affine, image.affine)
        assert np.allclose(volume.array, image.get_fdata(dtype=np.float32), atol=1e-6)
