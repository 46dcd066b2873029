"""Tags and conventions that change what a person sees: read so, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image, ImageOps
from tests.images import synthetic_dicom as made

from semiseg import images
from semiseg.errors import DataError
from semiseg.images import dicom, nifti
from semiseg.images.grid import Grid

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)
COLOR = np.stack([GRAY, GRAY + 20, 255 - GRAY], -1)
STACK = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
FRAME = """encoding: raw
space: left-posterior-superior
space directions: (1,0,0) (0,1,0) (0,0,2)
measurement frame: (0,1,0) (1,0,0) (0,0,1)"""
UM = {"axes": "ZYX", "unit": "um", "spacing": 20.0}


def palette(gray: bool = False) -> Image.Image:
    image = Image.fromarray(GRAY)
    image.putpalette(
        [v for i in range(256) for v in ((255 - i,) * 3 if gray else (i, i + 20 & 255, 255 - i))]
    )
    return image


def nrrd(
    extra: str, sizes: str = "3 4 5", kind: str = "short", data: bytes = STACK.tobytes(order="F")
) -> bytes:
    head = f"NRRD0004\ntype: {kind}\ndimension: {len(sizes.split())}\nsizes: {sizes}\nendian: little\n"
    return f"{head}{extra}\n\n".encode() + data


def mha(extra: str, kind: str = "MET_SHORT", data: bytes = STACK.tobytes(order="F")) -> bytes:
    return (
        f"NDims = 3\nDimSize = 3 4 5\n{extra}ElementType = {kind}\nElementDataFile = LOCAL\n".encode() + data
    )


def save_nifti(path: Path, array: np.ndarray = STACK, **header: object) -> None:
    head = nib.Nifti1Header()
    head.set_data_shape(array.shape)
    head.set_data_dtype(array.dtype)
    head["pixdim"][:4] = (1, 1, 1, 2)
    for key, value in {"magic": b"n+1", "vox_offset": 352, "scl_slope": 1, **header}.items():
        head[key] = value
    path.write_bytes(head.binaryblock + bytes(4) + array.tobytes(order="F"))


RGBA = np.stack([STACK, STACK, STACK + 9, STACK * 0], -1).astype(np.uint8)


def save_rgba(path: Path, alpha: int) -> None:
    array = RGBA | np.array([0, 0, 0, alpha], np.uint8)
    if path.suffix == ".nii":
        kind = np.dtype([(name, "u1") for name in "RGBA"])
        save_nifti(path, np.ascontiguousarray(array).view(kind)[..., 0])
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=True), str(path))


def _with_second_view(path: Path) -> None:
    views = [Image.new("RGB", (8, 16), (value,) * 3) for value in (128, 60)]
    views[0].save(path, format="MPO", save_all=True, append_images=views[1:])


Write = Callable[[Path], object]
SEEN: list[tuple[str, Write, np.ndarray, tuple[float, ...]]] = [
    ("palette.png", lambda p: palette().save(p), COLOR, (1, 1)),
    ("gray palette.png", lambda p: palette(True).save(p), 255 - GRAY, (1, 1)),
    ("palette.tif", lambda p: palette().save(p), COLOR, (1, 1)),
    ("palette.bmp", lambda p: palette().save(p), COLOR, (1, 1)),
    ("opaque.png", lambda p: Image.fromarray(COLOR).convert("RGBA").save(p), COLOR, (1, 1)),
    ("opaque.tif", lambda p: Image.fromarray(COLOR).convert("RGBA").save(p), COLOR, (1, 1)),
    ("phone.jpg", _with_second_view, np.full((16, 8, 3), 128), (1, 1)),
    ("a.webp", lambda p: Image.fromarray(COLOR).save(p, lossless=True), COLOR, (1, 1)),
    ("white is 0.tif", lambda p: tifffile.imwrite(p, GRAY, photometric="miniswhite"), 255 - GRAY, (1, 1)),
    ("a.gif", lambda p: palette().save(p), COLOR, (1, 1)),
    ("a.pgm", lambda p: Image.fromarray(GRAY).save(p), GRAY, (1, 1)),
    ("a.ppm", lambda p: Image.fromarray(COLOR).save(p), COLOR, (1, 1)),
    ("opaque.nii", lambda p: save_rgba(p, 255), RGBA[..., :3], (1, 1, 2)),
    ("fax.tif", lambda p: Image.fromarray(GRAY > 5).save(p, compression="group4"), GRAY > 5, (1, 1)),
    (
        "separate.tif",
        lambda p: tifffile.imwrite(p, COLOR.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
        COLOR,
        (1, 1),
    ),
    (
        "imagej.tif",
        lambda p: tifffile.imwrite(p, STACK, imagej=True, resolution=(0.1, 0.2), metadata=UM),
        STACK,
        (0.02, 0.005, 0.01),
    ),
    (
        "ome.tif",
        lambda p: tifffile.imwrite(
            p,
            STACK,
            ome=True,
            photometric="minisblack",
            metadata={"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2.0},
        ),
        STACK,
        (0.002, 0.00025, 0.0005),
    ),
    (
        "unit.nrrd",
        lambda p: p.write_bytes(nrrd('encoding: raw\nspacings: 1 1 2\nunits: "mm" "mm" "mm"')),
        STACK,
        (1, 1, 2),
    ),
    ("frame.nrrd", lambda p: p.write_bytes(nrrd(FRAME)), STACK, (1, 1, 2)),
    ("no size.mha", lambda p: p.write_bytes(mha("ElementSpacing = 1 1 2\n")), STACK, (1, 1, 2)),
    (
        "hair over 1.nii",
        lambda p: save_nifti(p, qform_code=1, quatern_d=np.sqrt(1 + 3.8e-7)),
        STACK,
        (1, 1, 2),
    ),
    ("qfac 0.nii", lambda p: save_nifti(p, qform_code=1, pixdim=[0, 1, 1, 2, 0, 0, 0, 0]), STACK, (1, 1, 2)),
]


@pytest.mark.parametrize(("name", "write", "wanted", "spacing"), SEEN, ids=[row[0] for row in SEEN])
def test_what_is_seen_is_read(
    tmp_path: Path, name: str, write: Write, wanted: np.ndarray, spacing: tuple[float, ...]
) -> None:
    write(tmp_path / name)
    volume, header = images.read(tmp_path / name), images.read_header(tmp_path / name)
    assert np.array_equal(volume.array, wanted)
    assert volume.grid.spacing == pytest.approx(spacing)
    assert header.grid.matches(volume.grid)
    assert header.channels == (wanted.shape[-1] if wanted.ndim > len(spacing) else 1)
    assert header.dtype == volume.array.dtype.name


def _transparent(path: Path) -> None:
    Image.fromarray(np.dstack([COLOR, GRAY])).save(path)


REFUSED: list[tuple[str, Write, str, str]] = [
    ("alpha.png", _transparent, "TRANSPARENT", "12 of 12 pixels"),
    ("alpha.tif", _transparent, "TRANSPARENT", "12 of 12 pixels"),
    ("clear color.png", lambda p: palette().save(p, transparency=3), "TRANSPARENT", "1 of 12"),
    ("clear gray.png", lambda p: Image.fromarray(GRAY).save(p, transparency=3), "TRANSPARENT", "1 of 12"),
    ("alpha.nii", lambda p: save_rgba(p, 7), "TRANSPARENT", "60 of 60"),
    ("alpha.mha", lambda p: save_rgba(p, 7), "TRANSPARENT", "60 of 60"),
    ("curve.tif", lambda p: tifffile.imwrite(p, GRAY, imagej=True, metadata={"cf": 21}), "BAD_RESCALE", "21"),
    ("ends.nrrd", lambda p: p.write_bytes(nrrd("encoding: raw\naxis maxs: 3 4 9")), "BAD_SPACING", "how far"),
    ("print.tif", lambda p: Image.new("CMYK", (4, 3)).save(p), "BAD_DTYPE", "SEPARATED"),
    (
        "time.tif",
        lambda p: tifffile.imwrite(p, STACK, imagej=True, metadata={"axes": "TYX"}),
        "NOT_3D",
        "3 points in time",
    ),
    (
        "channels.tif",
        lambda p: tifffile.imwrite(p, STACK, imagej=True, metadata={"axes": "CYX"}),
        "NOT_3D",
        "3 channels",
    ),
    (
        "both.tif",
        lambda p: tifffile.imwrite(p, STACK[None], imagej=True, metadata={"axes": "ZCYX"}),
        "NOT_3D",
        "3 channels",
    ),
    (
        "white is -1.tif",
        lambda p: tifffile.imwrite(p, STACK, photometric="miniswhite"),
        "BAD_DTYPE",
        "lowest",
    ),
    (
        "um.nrrd",
        lambda p: p.write_bytes(nrrd('encoding: raw\nspacings: 1 1 2\nunits: "um" "um" "um"')),
        "BAD_SPACING",
        "'um'",
    ),
    ("um.mha", lambda p: p.write_bytes(mha("DistanceUnits = um\n")), "BAD_SPACING", "'um'"),
    (
        "time.nrrd",
        lambda p: p.write_bytes(nrrd("encoding: raw\nkinds: space space time")),
        "NOT_3D",
        "5 points in time",
    ),
    (
        "list.nrrd",
        lambda p: p.write_bytes(nrrd("encoding: raw\nkinds: list space space")),
        "NOT_3D",
        "3 values",
    ),
    (
        "vector.nrrd",
        lambda p: p.write_bytes(nrrd("encoding: raw\nkinds: vector space space")),
        "NOT_3D",
        "3 values",
    ),
    ("bzip2.nrrd", lambda p: p.write_bytes(nrrd("encoding: bzip2")), "UNREADABLE", "raw or gzip"),
    (
        "scaled.mha",
        lambda p: p.write_bytes(mha("ElementToIntensityFunctionSlope = 2\n")),
        "BAD_RESCALE",
        "by 2",
    ),
    (
        "many axes.mha",
        lambda p: p.write_bytes(b"NDims = 99\nDimSize = " + b"2 " * 99 + mha("")[26 - 4 :]),
        "NOT_3D",
        "99",
    ),
    (
        "vector.mha",
        lambda p: SimpleITK.WriteImage(SimpleITK.GetImageFromArray(STACK, isVector=True), str(p)),
        "NOT_3D",
        "5 values",
    ),
    ("long.nii", lambda p: save_nifti(p, qform_code=1, quatern_d=1.2), "BAD_SPACING", "1.44"),
    (
        "vector.nii",
        lambda p: nib.save(nib.Nifti1Image(STACK[:, :, None, None], np.eye(4)), p),
        "NOT_3D",
        "5 values",
    ),
    (
        "dicom.nii",
        lambda p: p.write_bytes(bytes(128) + b"DICM" + bytes(400)),
        "UNREADABLE",
        "is a DICOM file",
    ),
]


@pytest.mark.parametrize(("name", "write", "code", "said"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_tools_read_differently_is_refused_with_the_reason(
    tmp_path: Path, name: str, write: Write, code: str, said: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(DataError) as caught:
        images.read(tmp_path / name)
    assert caught.value.code == code
    assert said in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_pictures_are_read_upright(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GRAY).save(tmp_path / "exif.png", exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "exif.png")))
    path = tmp_path / f"a{ending}"
    if ending == ".tif":
        tags = [(274, 3, 1, orientation, True)]
        tifffile.imwrite(
            path, GRAY, photometric="minisblack", extratags=tags, resolution=(20, 40), resolutionunit=3
        )
    else:
        Image.fromarray(GRAY).save(path, exif=exif, dpi=(50.8, 101.6))
    volume = images.read(path)
    assert np.array_equal(volume.array, wanted)
    assert images.read_header(path).grid.matches(volume.grid)
    assert volume.grid.spacing == pytest.approx((0.25, 0.5) if orientation < 5 else (0.5, 0.25), rel=1e-3)


LABELS: list[tuple[str, Write, np.ndarray]] = [
    ("indices.png", lambda p: palette().save(p), GRAY),
    ("indices.tif", lambda p: palette().save(p), GRAY),
    ("clear background.png", lambda p: palette().save(p, transparency=0), GRAY),
    ("gray as color.png", lambda p: Image.fromarray(GRAY).convert("RGB").save(p), GRAY),
    (
        "scaled.nii",
        lambda p: save_nifti(p, (GRAY // 4 * 127 + GRAY // 8)[..., None], scl_slope=2 / 255),
        (GRAY // 4)[..., None],
    ),
]


@pytest.mark.parametrize(("name", "write", "wanted"), LABELS, ids=[row[0] for row in LABELS])
def test_labels_are_class_numbers(tmp_path: Path, name: str, write: Write, wanted: np.ndarray) -> None:
    write(tmp_path / name)
    found = images.read_label(tmp_path / name).array
    assert np.array_equal(found, wanted)
    assert found.dtype.kind in "ui"


def test_both_forms_of_a_scan_come_back(tmp_path: Path) -> None:
    turn = np.array([[0.98, -0.2, 0, -40], [0.2, 0.98, 0, 12], [0, 0, 1, -70], [0, 0, 0, 1]])
    image = nib.Nifti1Image(STACK, turn)
    image.set_qform(np.diag([1.0, 1, 1, 1]), 1)
    image.set_sform(turn, 4)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = images.read(tmp_path / "a.nii.gz")
    images.write(tmp_path / "b.nii.gz", volume.array, volume.grid, volume.meta)
    before, after = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / "b.nii.gz")
    for form in ("get_qform", "get_sform"):
        assert np.allclose(getattr(before, form)(), getattr(after, form)(), atol=1e-5)
    assert volume.meta["form_gap_mm"] > 50


def test_a_straight_line_of_imagej_gives_the_values_that_it_shows(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GRAY, imagej=True, metadata={"cf": 0, "c0": -1024.0, "c1": 2.0})
    assert np.array_equal(images.read(tmp_path / "a.tif").array, GRAY * 2.0 - 1024)


@pytest.mark.parametrize(
    ("name", "said"), [("a.nrrd", b""), ("a.mha", b""), ("b.mha", b"ElementSize = 1 1 1\n")]
)
def test_only_what_a_file_says_is_a_size_in_mm(tmp_path: Path, name: str, said: bytes) -> None:
    (tmp_path / name).write_bytes(nrrd("encoding: raw") if name == "a.nrrd" else mha(said.decode()))
    assert images.read(tmp_path / name).grid.unit == ("mm" if said else "px")


def test_one_frame_of_a_4d_file_is_read_to_the_checksum(tmp_path: Path) -> None:
    both = np.stack([STACK, STACK + 100], -1)
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(both, np.eye(4)), path)
    assert np.array_equal(nifti.read_frame(path, 1).array, STACK + 100)
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="damaged"):
        nifti.read_frame(path, 0)


def rounded(step: float, count: int = 24) -> dict[int, dict[str, object]]:
    return {k: {"ImagePositionPatient": [0, 0, round(step * k, 1)]} for k in range(count)}


TWO_STEPS = {
    k: {"ImagePositionPatient": [0, 0, 2.5 * k if k < 12 else 27.5 + 7.5 * (k - 11)]} for k in range(20)
}
SERIES: list[tuple[str, dict[str, object], str]] = [
    ("positions in tenths", {"per_slice": rounded(0.625)}, ""),
    (
        "two steps",
        {"per_slice": TWO_STEPS},
        "two slice distances in one series: 11 of 2.50 mm and 8 of 7.50 mm",
    ),
    ("palette", {"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
    ("curve", {"ModalityLUTSequence": [made.Dataset()]}, "Modality LUT"),
]


@pytest.mark.parametrize(("name", "change", "said"), SERIES, ids=[row[0] for row in SERIES])
def test_series_that_look_odd(tmp_path: Path, name: str, change: dict, said: str) -> None:
    count = len(change.get("per_slice", range(7)))
    made.write_series(tmp_path, made.volume((6, 5, count)), **change)
    found = dicom.find_series(tmp_path)
    if not said:
        assert dicom.read_series(found[0]).grid.spacing[2] == pytest.approx(0.626, abs=1e-3)
        return
    with pytest.raises(DataError, match=said):
        dicom.read_series(found[0])


@pytest.mark.parametrize(("modality", "inverted"), [("CR", True), ("CT", False)])
def test_the_lowest_value_of_a_radiograph_may_be_white(tmp_path: Path, modality: str, inverted: bool) -> None:
    array = made.volume()
    made.write_series(tmp_path, array, PhotometricInterpretation="MONOCHROME1", Modality=modality)
    found = dicom.read_series(dicom.find_series(tmp_path)[0]).array
    assert np.array_equal(found, -1 - array if inverted else array)


def test_bits_above_the_stored_ones_are_no_values(tmp_path: Path) -> None:
    array = made.volume()
    overlay = (array | (array % 2 << 13)).astype(np.int16)
    made.write_series(tmp_path, overlay, BitsStored=12, HighBit=11, PixelRepresentation=0)
    assert np.array_equal(dicom.read_series(dicom.find_series(tmp_path)[0]).array, array)


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.1, 0.2)),
        ({"NominalScannedPixelSpacing": [0.2, 0.1]}, (0.1, 0.2)),
        ({"PixelAspectRatio": [2, 1]}, (1, 2)),
        ({}, (1, 1)),
    ],
)
def test_pictures_without_pixel_spacing(tmp_path: Path, tags: dict, spacing: tuple[float, float]) -> None:
    ds = made.base(made.volume((6, 5, 1)), "1.2.3", Modality="CR", **tags)
    ds.PixelData = bytes(60)
    made.save(ds, tmp_path / "a.dcm")
    grid = dicom.read_series(dicom.find_series(tmp_path)[0]).grid
    assert grid.spacing == pytest.approx(spacing)
    assert grid.unit == ("mm" if tags else "px")


def test_slices_with_a_series_of_their_own_are_one_series(tmp_path: Path) -> None:
    one_each = {k: {"SeriesInstanceUID": f"1.2.{k + 1}", "StudyInstanceUID": "1.2"} for k in range(7)}
    array = made.volume()
    made.write_series(tmp_path, array, per_slice=one_each, SeriesNumber=3)
    (series,) = dicom.find_series(tmp_path)
    assert np.array_equal(dicom.read_series(series).array, array)


def test_rounded_grids_match_and_moved_ones_do_not() -> None:
    shape = (24, 24, 91)
    exact, short = Grid(shape, np.diag([1, 1, 3.27022, 1])), Grid(shape, np.diag([1, 1, 3.27, 1]))
    moved = Grid(shape, np.array([[1, 0, 0, 0.2], [0, 1, 0, 0], [0, 0, 3.27022, 0], [0, 0, 0, 1.0]]))
    assert exact.matches(short)
    assert not exact.matches(moved)
    assert short.unlike(exact) == "spacing 1 x 1 x 3.27, wanted 1 x 1 x 3.27022"
    assert "origin 0.2" in moved.unlike(exact)
