"""PNG, TIFF and the like: channels, palettes, densities, sidecars; and writing that is all or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from semiseg import images as formats
from semiseg.errors import DataError
from semiseg.images.grid import Grid
from semiseg.machine.files import atomic_file

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_modes_of_png(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    color = rng.integers(0, 255, (3, 4, 3)).astype(np.uint8)
    deep = rng.integers(0, 65535, (3, 4)).astype(np.uint16)
    palette = Image.fromarray(GRAY, mode="L").convert("P")
    palette.putdata(GRAY.ravel().tolist())
    palette.putpalette([255 - i // 3 for i in range(768)])
    images = {
        "gray": (Image.fromarray(GRAY), GRAY),
        "color": (Image.fromarray(color), color),
        "deep": (Image.fromarray(deep), deep),
        "bits": (Image.fromarray(GRAY > 5), (GRAY > 5).astype(np.uint8)),
        "palette": (palette, 255 - GRAY),
        "alpha": (Image.merge("LA", [Image.fromarray(GRAY), Image.new("L", (4, 3), 255)]), GRAY),
        "opaque": (Image.fromarray(color).convert("RGBA"), color),
    }
    for name, (image, wanted) in images.items():
        image.save(tmp_path / f"{name}.png")
        volume = formats.read(tmp_path / f"{name}.png")
        header = formats.read_header(tmp_path / f"{name}.png")
        assert np.array_equal(volume.array, wanted), name
        assert volume.array.dtype == wanted.dtype, name
        assert header.grid.shape == volume.grid.shape == (3, 4)
        assert header.channels == (3 if name in ("color", "opaque") else 1)
        assert np.array_equal(volume.grid.affine, np.eye(4))
    assert np.array_equal(formats.read_label(tmp_path / "palette.png").array, GRAY)


def test_16_bit_color_is_refused_rather_than_cut_to_8_bits(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    body = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(bytes(7))
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    with pytest.raises(DataError) as caught:
        formats.read(tmp_path / "a.png")
    assert caught.value.code == "BAD_DTYPE"


@pytest.mark.parametrize(
    ("held", "named"),
    [
        (".jpg", ".png"),
        (".png", ".tif"),
        (".nii", ".nrrd"),
        (".nrrd", ".nii.gz"),
        (".mha", ".nii"),
        (".tif", ".jpg"),
    ],
)
def test_a_file_is_read_as_what_it_holds_and_the_name_is_told(tmp_path: Path, held: str, named: str) -> None:
    source = tmp_path / f"a{held}"
    if held == ".jpg":
        Image.fromarray(GRAY).save(source, quality=100)
    else:
        formats.write(source, GRAY, Grid((3, 4), np.eye(4)))
    wanted = formats.read(source)
    volume = formats.read(source.rename(tmp_path / f"b{named}"))
    assert np.array_equal(volume.array, wanted.array)
    assert volume.meta["content"] == held
    assert "content" not in wanted.meta


def test_density_counts_unless_it_is_a_default(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "screen.png", dpi=(72, 72))
    Image.fromarray(GRAY).save(tmp_path / "real.png", dpi=(50.8, 101.6))
    assert formats.read(tmp_path / "screen.png").grid.spacing == (1.0, 1.0)
    assert formats.read(tmp_path / "real.png").grid.spacing == pytest.approx((0.25, 0.5), rel=1e-3)
    tifffile.imwrite(tmp_path / "real.tif", GRAY, resolution=(20, 40), resolutionunit="CENTIMETER")
    assert formats.read(tmp_path / "real.tif").grid.spacing == pytest.approx((0.25, 0.5))


def test_sidecar_names_the_spacing_for_images_and_labels(tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text(json.dumps({"spacing": [3, 0.5, 0.25]}))
    stack = np.zeros((5, 8, 9), np.uint16)
    for name in ("case_0000.tif", "case.tif"):
        tifffile.imwrite(tmp_path / name, stack)
        assert formats.read_header(tmp_path / name).grid.spacing == (3.0, 0.5, 0.25)
    for bad, code in (([1, 1], "BAD_SPACING"), ([0, 1, 1], "BAD_SPACING"), ("1 mm", "UNREADABLE")):
        (tmp_path / "case.json").write_text(json.dumps({"spacing": bad}))
        with pytest.raises(DataError) as caught:
            formats.read(tmp_path / "case.tif")
        assert caught.value.code == code


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_written_spacing_comes_back_and_other_sidecar_keys_stay(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"case{ending}"
    formats.write(path, GRAY, Grid((3, 4), np.eye(4)))
    assert not (tmp_path / "case.json").exists()
    (tmp_path / "case.json").write_text(json.dumps({"scanner": "x"}))
    grid = Grid((3, 4), np.diag([0.7, 0.3, 1.0, 1.0]))
    formats.write(path, GRAY, grid)
    assert formats.read(path).grid.matches(grid)
    assert json.loads((tmp_path / "case.json").read_text())["scanner"] == "x"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_tiff_stacks(tmp_path: Path, dtype: str) -> None:
    array = np.arange(60).reshape(5, 3, 4).astype(dtype)
    formats.write(tmp_path / "a.tiff", array, Grid(array.shape, np.eye(4)))
    volume = formats.read(tmp_path / "a.tiff")
    assert volume.array.dtype == np.dtype(dtype)
    assert np.array_equal(volume.array, array)
    assert np.array_equal(tifffile.imread(tmp_path / "a.tiff"), array)


def test_tiff_color_and_lzw_and_too_many_axes(tmp_path: Path) -> None:
    color = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "last.tif", color, photometric="rgb")
    tifffile.imwrite(
        tmp_path / "first.tif", np.moveaxis(color, -1, 0), photometric="rgb", planarconfig="separate"
    )
    Image.fromarray(color).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    for name in ("last.tif", "first.tif", "lzw.tif"):
        assert formats.read_header(tmp_path / name).channels == 3
        assert np.array_equal(formats.read(tmp_path / name).array, color), name
    tifffile.imwrite(
        tmp_path / "4d.tif", np.zeros((2, 3, 4, 5), np.uint8), metadata={"axes": "TZYX"}, ome=True
    )
    with pytest.raises(DataError) as caught:
        formats.read_header(tmp_path / "4d.tif")
    assert caught.value.code == "NOT_3D"


@pytest.mark.parametrize(
    ("name", "array", "code"),
    [
        ("a.png", np.zeros((3, 4), np.int16), "BAD_DTYPE"),
        ("a.png", np.zeros((3, 4, 5), np.uint8), "BAD_DTYPE"),
        ("a.jpg", np.zeros((3, 4), np.uint8), "UNKNOWN_FORMAT"),
        ("a.nii.gz", np.zeros((3, 4), np.complex64), "BAD_DTYPE"),
        ("a.xyz", np.zeros((3, 4), np.uint8), "UNKNOWN_FORMAT"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(
    tmp_path: Path, name: str, array: np.ndarray, code: str
) -> None:
    with pytest.raises(DataError) as caught:
        formats.write(tmp_path / name, array, Grid(array.shape, np.eye(4)))
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_array_and_grid_must_agree(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        formats.write(tmp_path / "a.nii.gz", np.zeros((3, 4, 5), np.uint8), Grid((3, 4, 6), np.eye(4)))
    assert caught.value.code == "SHAPE_MISMATCH"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kept.bin"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_file(path) as stream:
            stream.write(b"new")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.bin"]
    with atomic_file(path) as stream:
        stream.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        formats.write(tmp_path / "file" / "a.nii.gz", np.zeros((3, 4), np.uint8), Grid((3, 4), np.eye(4)))
    assert caught.value.code == "UNREADABLE"
    assert "written" in caught.value.message
