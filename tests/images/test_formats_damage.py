"""Files that lie, end early or are no images: one clear error, and no memory taken on a header's word."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from semiseg import images
from semiseg.errors import DataError
from semiseg.images import claims
from semiseg.images.grid import Grid

HUGE = 30000
ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".tif")


def lying_nifti() -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((HUGE, HUGE, HUGE))
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return header.binaryblock + bytes(4)


def lying_nrrd(encoding: str) -> bytes:
    text = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 60000 60000 60000\nencoding: {encoding}\n"
    return text.encode() + b"endian: little\n\n" + gzip.compress(bytes(100))


def lying_mha(compressed: bool) -> bytes:
    text = f"NDims = 3\nDimSize = 60000 60000 60000\nElementType = MET_SHORT\nCompressedData = {compressed}\n"
    return text.encode() + b"ElementDataFile = LOCAL\n" + zlib.compress(bytes(100))


def lying_png(side: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


def lying_tiff(compression: int) -> bytes:
    tags = [(256, 4, 60000), (257, 4, 60000), (258, 3, 16), (259, 3, compression), (262, 3, 1), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, 60000), (279, 4, 100)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(104)


LIES = {
    "plain.nii": lying_nifti(),
    "packed.nii.gz": gzip.compress(lying_nifti()),
    "raw.nrrd": lying_nrrd("raw"),
    "packed.nrrd": lying_nrrd("gzip"),
    "raw.mha": lying_mha(False),
    "packed.mha": lying_mha(True),
    "square.png": lying_png(60000),
    "raw.tif": lying_tiff(1),
    "packed.tif": lying_tiff(8),
}


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("call", [images.read_header, images.read])
def test_absurd_headers_are_refused_without_memory(
    tmp_path: Path, name: str, call: Callable[..., object]
) -> None:
    path = tmp_path / name
    path.write_bytes(LIES[name])
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            call(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "ABSURD_HEADER"
    assert name in caught.value.message
    assert caught.value.hint
    assert peak < 32 << 20


def good_file(folder: Path, ending: str) -> Path:
    rng = np.random.default_rng(0)
    shape = (40, 41) if ending == ".png" else (20, 21, 22)
    path = folder / f"case{ending}"
    images.write(path, rng.integers(0, 255, shape).astype(np.uint8), Grid(shape, np.eye(4)))
    return path


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("part", [0.5, 0.97])
def test_cut_files(tmp_path: Path, ending: str, part: float) -> None:
    path = good_file(tmp_path, ending)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * part)])
    with pytest.raises(DataError) as caught:
        images.read(path)
    assert caught.value.code in ("TRUNCATED", "UNREADABLE")
    if ending in (".nii", ".nii.gz", ".nrrd", ".mha"):
        assert caught.value.code == "TRUNCATED"
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_gzip_cut_in_its_last_bytes_is_found_out(tmp_path: Path) -> None:
    path = good_file(tmp_path, ".nii.gz")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError) as caught:
        images.read(path)
    assert caught.value.code == "TRUNCATED"


def test_a_flipped_byte_in_gzip_is_found_out(tmp_path: Path) -> None:
    path = good_file(tmp_path, ".nii.gz")
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF  # the checksum
    path.write_bytes(raw)
    with pytest.raises(DataError) as caught:
        images.read(path)
    assert caught.value.code == "UNREADABLE"


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".png"])
def test_no_flipped_bit_among_the_voxels_goes_unseen(tmp_path: Path, ending: str) -> None:
    shape = (40, 41) if ending == ".png" else (20, 21, 22)
    path = tmp_path / f"label{ending}"
    images.write(path, (np.indices(shape).sum(0) // 12).astype(np.uint8), Grid(shape, np.eye(4)))
    raw = path.read_bytes()
    start = {".nrrd": raw.find(b"\n\n") + 2, ".mha": raw.find(b"LOCAL\n") + 6}.get(ending, 0)
    for number in range(60):
        bit = np.random.default_rng(number).integers(start * 8, len(raw) * 8)
        data = bytearray(raw)
        data[bit // 8] ^= 1 << (bit % 8)
        sound = images.read(_with(path, raw)).array
        try:
            read = images.read(_with(path, bytes(data))).array
        except DataError:
            continue
        assert np.array_equal(read, sound)  # a bit that says nothing, such as the writer's clock


def _with(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_pipe_is_refused_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.nii")
    with pytest.raises(DataError, match="a pipe or a device"):
        images.read(tmp_path / "x.nii")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".png", ".tif"])
def test_what_does_not_fit_into_free_memory_is_refused_before_it_is_decoded(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PLAUSIBLE_BYTES", 1)
    monkeypatch.setattr(claims, "free_memory_gb", lambda: 1e-7)
    with pytest.raises(DataError, match=r"memory are free") as caught:
        images.read(good_file(tmp_path, ending))
    assert caught.value.code == "TOO_LARGE"


@pytest.mark.parametrize("lie", ["circle", "count", "strips"])
def test_a_small_tiff_cannot_keep_a_reader_busy(tmp_path: Path, lie: str) -> None:
    from PIL import Image

    path = tmp_path / "a.tif"
    Image.new("L", (4, 4)).save(path)
    raw = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", raw, 4)
    (count,) = struct.unpack_from("<H", raw, start)
    if lie == "circle":
        struct.pack_into("<I", raw, start + 2 + 12 * count, start)
    elif lie == "count":
        struct.pack_into("<I", raw, start + 2 + 12 * (count - 1) + 4, 2**31)
    else:
        tags = [struct.unpack_from("<H", raw, start + 2 + 12 * k)[0] for k in range(count)]
        struct.pack_into("<I", raw, start + 2 + 12 * tags.index(257) + 8, 2**32 - 1)
    path.write_bytes(raw)
    for call in (images.read_header, images.read):
        with pytest.raises(DataError):
            call(path)


def test_a_bomb_is_decoded_no_further_than_its_header_asks(tmp_path: Path) -> None:
    images.write(tmp_path / "a.nii", np.ones((4, 4, 4), np.uint8), Grid((4, 4, 4), np.eye(4)))
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes() + bytes(200 << 20)))
    images.read(tmp_path / "a.nii")
    tracemalloc.start()
    try:
        assert images.read(path).array.shape == (4, 4, 4)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("ending", [*ENDINGS, ".mhd", ".nhdr", ".jpg", ".bmp"])
@pytest.mark.parametrize(
    "content", [b"", b"hello, this is text\n" * 40, bytes(4096), b"\x1f\x8b" + b"\xff" * 50]
)
def test_garbage(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"garbage{ending}"
    path.write_bytes(content)
    for call in (images.read, images.read_header):
        with pytest.raises(DataError) as caught:
            call(path)
        assert caught.value.code == ("UNREADABLE" if content else "EMPTY_FILE")
        assert str(path) in caught.value.message


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_prefix_of_a_file_is_an_error_never_a_crash(tmp_path: Path, ending: str) -> None:
    raw = good_file(tmp_path, ending).read_bytes()
    path = tmp_path / f"part{ending}"
    for size in (1, 3, 8, 27, 64, 130, 200, 347, 351):
        path.write_bytes(raw[:size])
        with pytest.raises(DataError):
            images.read(path)


def test_folders_missing_files_and_unknown_endings(tmp_path: Path) -> None:
    (tmp_path / "folder.nii.gz").mkdir()
    cases = {"folder.nii.gz": "UNREADABLE", "absent.nii.gz": "MISSING_FILE", "notes.txt": "UNKNOWN_FORMAT"}
    for name, code in cases.items():
        with pytest.raises(DataError) as caught:
            images.read(tmp_path / name)
        assert caught.value.code == code


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = good_file(tmp_path, ".nii.gz")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root, who often runs tests, may read everything
    with pytest.raises(DataError) as caught:
        images.read(path)
    assert caught.value.code == "UNREADABLE"
    assert "Permission denied" in caught.value.message


@pytest.mark.parametrize("spacing", ["0 1 1", "1 -1 1", "nan 1 1", "1 inf 1"])
def test_bad_spacing_in_text_headers(tmp_path: Path, spacing: str) -> None:
    mha = f"NDims = 3\nDimSize = 2 3 4\nElementSpacing = {spacing}\nElementType = MET_UCHAR\n"
    (tmp_path / "a.mha").write_bytes(mha.encode() + b"ElementDataFile = LOCAL\n" + bytes(24))
    nrrd = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 4\nspacings: {spacing}\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(nrrd.encode() + bytes(24))
    for name in ("a.mha", "a.nrrd"):
        with pytest.raises(DataError) as caught:
            images.read_header(tmp_path / name)
        assert caught.value.code == "BAD_SPACING"


@pytest.mark.parametrize("affine", ["singular", "nan", "zero"])
def test_bad_affines_in_nifti(tmp_path: Path, affine: str) -> None:
    images.write(tmp_path / "a.nii", np.ones((3, 4, 5), np.uint8), Grid((3, 4, 5), np.eye(4)))
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    rows = {"singular": [1, 1, 0, 0] * 3, "nan": [np.nan] * 12, "zero": [0] * 12}[affine]
    raw[280:328] = np.array(rows, "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(DataError) as caught:
        images.read(tmp_path / "a.nii")
    assert caught.value.code == "BAD_SPACING"


@pytest.mark.parametrize("pixdim", [0.0, -1.0, float("nan")])
def test_bad_pixdim_without_sform(tmp_path: Path, pixdim: float) -> None:
    meta = {"sform_code": 0, "qform_code": 1}
    images.write(tmp_path / "a.nii", np.ones((3, 4, 5), np.uint8), Grid((3, 4, 5), np.eye(4)), meta)
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[84:88] = np.array([pixdim], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(DataError) as caught:
        images.read_header(tmp_path / "a.nii")
    assert caught.value.code == "BAD_SPACING"


def test_complex_values_are_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.complex64), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError) as caught:
        images.read(tmp_path / "a.nii")
    assert caught.value.code == "BAD_DTYPE"
