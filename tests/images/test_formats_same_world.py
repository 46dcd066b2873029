"""One volume, many formats: the same voxel lies at the same place, for us and for SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semiseg import images
from semiseg.errors import DataError
from semiseg.images.grid import Grid

VOLUME_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha")
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "uint64", "float32")


def turned(degrees: tuple[float, float, float], spacing: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.radians(degrees)
    rx = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rz = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rx @ ry @ rz @ np.diag(spacing)
    affine[:3, 3] = (12.5, -30.25, 7.0)
    return affine


AFFINES = {
    "upright": np.diag([1.0, 1.0, 1.0, 1.0]),
    "flipped": np.array([[-0.5, 0, 0, 9], [0, 2, 0, -4], [0, 0, -3, 5], [0, 0, 0, 1.0]]),
    "permuted": np.array([[0, 0, 2, 1], [1, 0, 0, 2], [0, -0.7, 0, 3], [0, 0, 0, 1.0]]),
    "oblique": turned((20, -35, 50), (0.8, 1.1, 2.5)),
}


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
@pytest.mark.parametrize("name", AFFINES)
def test_voxels_and_world_survive_and_agree_with_simpleitk(tmp_path: Path, ending: str, name: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(1)
    array = rng.integers(-900, 900, (5, 6, 7)).astype(np.int16)
    grid = Grid(array.shape, AFFINES[name])
    path = tmp_path / f"case{ending}"
    images.write(path, array, grid)

    volume = images.read(path)
    header = images.read_header(path)
    assert np.array_equal(volume.array, array)
    assert volume.grid.matches(grid)
    assert header.grid.matches(grid)
    assert header.dtype == "int16"

    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, array)
    for index in ((0, 0, 0), (4, 5, 6), (1, 2, 3)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        assert np.allclose(lps * [-1, -1, 1], (AFFINES[name] @ [*index, 1])[:3], atol=1e-4)


@pytest.mark.parametrize("ending", [*VOLUME_ENDINGS, ".mhd", ".nhdr", ".hdr"])
@pytest.mark.parametrize("compressed", [False, True])
def test_reads_what_simpleitk_writes(tmp_path: Path, ending: str, compressed: bool) -> None:
    sitk = pytest.importorskip("SimpleITK")
    array = np.random.default_rng(2).normal(size=(4, 6, 5)).astype(np.float32)
    image = sitk.GetImageFromArray(array.T)
    affine = AFFINES["oblique"]
    image.SetSpacing(np.linalg.norm(affine[:3, :3], axis=0).tolist())
    flip = np.diag([-1.0, -1.0, 1.0])
    image.SetDirection((flip @ affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).ravel().tolist())
    image.SetOrigin((flip @ affine[:3, 3]).tolist())
    path = tmp_path / f"image{ending}"
    sitk.WriteImage(image, str(path), useCompression=compressed)
    volume = images.read(path)
    assert np.array_equal(volume.array, array)
    assert volume.grid.matches(Grid(array.shape, affine))


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_types_are_kept(tmp_path: Path, ending: str, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / f"t{ending}"
    images.write(path, array, Grid(array.shape, np.eye(4)))
    volume = images.read(path)
    assert volume.array.dtype == np.dtype(dtype)
    assert np.array_equal(volume.array, array)
    assert volume.array.flags.writeable


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
def test_doubles_come_back_as_float32_and_booleans_as_uint8(tmp_path: Path, ending: str) -> None:
    array = np.linspace(0, 1, 24).reshape(2, 3, 4)
    path = tmp_path / f"t{ending}"
    images.write(path, array, Grid(array.shape, np.eye(4)))
    assert images.read_header(path).dtype == "float64"
    assert images.read(path).array.dtype == np.float32
    images.write(path, array > 0.5, Grid(array.shape, np.eye(4)))
    assert images.read(path).array.dtype == np.uint8


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".tif", ".bmp"])
def test_two_dimensional_images(tmp_path: Path, ending: str) -> None:
    array = np.arange(30, dtype=np.uint8).reshape(5, 6)
    grid = Grid((5, 6), np.diag([0.5, 0.25, 1.0, 1.0]))
    path = tmp_path / f"flat{ending}"
    images.write(path, array, grid)
    volume = images.read(path)
    assert volume.grid.shape == (5, 6)
    assert np.array_equal(volume.array, array)
    assert np.allclose(volume.grid.affine, grid.affine)
    assert volume.grid.spacing == pytest.approx((0.5, 0.25))


@pytest.mark.parametrize("ending", [".nii.gz"])
def test_a_tilted_2d_slice_keeps_its_place(tmp_path: Path, ending: str) -> None:
    affine = AFFINES["oblique"].copy()
    affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
    affine[:3, 2] /= np.linalg.norm(affine[:3, 2])
    grid = Grid((5, 6), affine)
    images.write(tmp_path / f"s{ending}", np.ones((5, 6), np.uint8), grid)
    assert images.read(tmp_path / f"s{ending}").grid.matches(grid)


def test_shear_is_kept_by_nifti_and_nrrd_and_refused_by_the_others(tmp_path: Path) -> None:
    affine = AFFINES["oblique"].copy()
    affine[:3, 2] += 0.3 * affine[:3, 0]
    array = np.ones((3, 4, 5), np.uint8)
    grid = Grid(array.shape, affine)
    for ending in (".nii", ".nii.gz", ".nrrd"):
        images.write(tmp_path / f"s{ending}", array, grid)
        assert images.read(tmp_path / f"s{ending}").grid.matches(grid)
    for ending in (".mha", ".tif"):
        with pytest.raises(DataError) as caught:
            images.write(tmp_path / f"s{ending}", array, grid)
        assert caught.value.code == "SHEARED"
        assert ".nii.gz" in caught.value.hint


def test_big_endian_and_color_and_detached(tmp_path: Path) -> None:
    colors = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    stored = np.moveaxis(colors, -1, 0).tobytes(order="F")
    mha = b"NDims = 2\nDimSize = 2 3\nElementType = MET_UCHAR\nElementNumberOfChannels = 3\n"
    (tmp_path / "c.mha").write_bytes(mha + b"ElementDataFile = LOCAL\n" + stored)
    nrrd = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 3 2 3\nkinds: RGB-color domain domain\n"
    (tmp_path / "c.nrrd").write_bytes(nrrd + b"encoding: raw\n\n" + stored)
    for name in ("c.mha", "c.nrrd"):
        assert images.read_header(tmp_path / name).channels == 3
        assert np.array_equal(images.read(tmp_path / name).array, colors)

    values = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    (tmp_path / "v.raw").write_bytes(values.tobytes(order="F"))
    head = "NDims = 3\nDimSize = 2 3 4\nElementType = MET_SHORT\nBinaryDataByteOrderMSB = True\n"
    (tmp_path / "v.mhd").write_text(head + "ElementDataFile = v.raw\n")
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 4\nendian: big\nencoding: raw\n"
    (tmp_path / "v.nhdr").write_text(head + "data file: v.raw\n")
    for name in ("v.mhd", "v.nhdr"):
        assert np.array_equal(images.read(tmp_path / name).array, values)


@pytest.mark.parametrize("name", ["../v.raw", "/etc/passwd", "LIST", "v%03d.raw 1 3 1"])
def test_headers_cannot_lead_to_other_folders(tmp_path: Path, name: str) -> None:
    (tmp_path / "v.raw").write_bytes(bytes(24))
    inner = tmp_path / "in"
    inner.mkdir()
    head = f"NDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\nElementDataFile = {name}\n"
    (inner / "v.mhd").write_text(head)
    head = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 4\nencoding: raw\ndata file: {name}\n"
    (inner / "v.nhdr").write_text(head)
    for header in ("v.mhd", "v.nhdr"):
        with pytest.raises(DataError) as caught:
            images.read(inner / header)
        assert caught.value.code == "UNREADABLE"


def test_registry_finds_the_longest_ending() -> None:
    assert images.ENDINGS[0] == ".nii.gz"
    assert {".nii", ".nrrd", ".mha", ".mhd", ".png", ".tif", ".tiff"} <= set(images.ENDINGS)
    assert images.ending_of(Path("a/CASE_0000.NII.GZ")) == ".nii.gz"
    assert images.ending_of(Path("x.txt")) is None
    assert images.ending_of(Path(".nii.gz")) is None
