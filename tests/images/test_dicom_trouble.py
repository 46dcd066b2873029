"""DICOM folders as they come: mixed, doubled, gapped, cut, hostile; each with its own clear error."""

from __future__ import annotations

import errno
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from tests.images import synthetic_dicom as made

from semiseg.errors import DataError
from semiseg.images import dicom
from semiseg.images.archive import Unpacked


def code_of(path: Path) -> str:
    """The code of the error that reading the first series of ``path`` gives."""
    with pytest.raises(DataError) as caught:
        dicom.read_series(dicom.find_series(path)[0])
    assert caught.value.hint
    assert "SECRET" not in caught.value.message + caught.value.hint + repr(caught.value.details)
    assert "\n" not in caught.value.message
    return caught.value.code


def test_two_series_in_one_folder(tmp_path: Path) -> None:
    one, two = made.volume(seed=1), made.volume((4, 8, 3), seed=2)
    made.write_series(tmp_path / "x", one)
    for file in made.write_series(tmp_path / "y", two, Modality="MR"):
        shutil.move(file, tmp_path / "x" / f"second_{file.name}")
    series = {s.modality: dicom.read_series(s).array for s in dicom.find_series(tmp_path)}
    assert np.array_equal(series["CT"], one)
    assert np.array_equal(series["MR"], two)


def test_localizers_are_dropped(tmp_path: Path) -> None:
    array = made.volume()
    made.write_series(tmp_path / "main", array)
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    made.write_series(tmp_path / "scout", made.volume((9, 9, 2)), ImageType=scout)
    found = dicom.find_series(tmp_path)
    assert [dicom.read_series(s).array.shape for s in found] == [array.shape]
    shutil.rmtree(tmp_path / "main")
    with pytest.raises(DataError) as caught:
        dicom.find_series(tmp_path)
    assert caught.value.code == "NO_SERIES"
    assert "2 localizer" in caught.value.message


def test_a_stray_view_in_the_series_is_dropped_and_orientations_are_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uid = generate_uid()
    made.write_series(tmp_path / "a", made.volume(), SeriesInstanceUID=uid)
    made.write_series(tmp_path / "b", made.volume((6, 5, 1)), orientation=made.CORONAL, SeriesInstanceUID=uid)
    assert len(dicom.find_series(tmp_path)) == 1
    assert "1 DICOM image " in caplog.text
    made.write_series(
        tmp_path / "c", made.volume((6, 5, 4)), orientation=made.SAGITTAL, SeriesInstanceUID=uid
    )
    shapes = [dicom.read_series(s).array.shape for s in dicom.find_series(tmp_path)]
    assert sorted(shapes) == [(6, 5, 4), (6, 5, 7)]


def test_a_copied_file_counts_once(tmp_path: Path) -> None:
    files = made.write_series(tmp_path / "s", made.volume())
    shutil.copy(files[3], tmp_path / "s" / "copy of it.dcm")
    assert dicom.read_series(dicom.find_series(tmp_path / "s")[0]).array.shape == (6, 5, 7)


def test_slices_that_share_one_instance_uid_are_all_there(tmp_path: Path) -> None:
    array = made.volume()
    made.write_series(tmp_path, array, SOPInstanceUID="1.2.3")
    assert np.array_equal(dicom.read_series(dicom.find_series(tmp_path)[0]).array, array)


@pytest.mark.parametrize("frames", [5, 9])
def test_frames_that_are_not_those_described(tmp_path: Path, frames: int) -> None:
    made.write_enhanced(tmp_path / "a.dcm", made.volume(), list(range(7)))
    header = dcmread(tmp_path / "a.dcm")
    header.NumberOfFrames = frames
    header.save_as(tmp_path / "a.dcm")
    with pytest.raises(DataError, match=f"7 frames and says it has {frames}|claims|cut off"):
        dicom.find_series(tmp_path)


def test_duplicate_slice(tmp_path: Path) -> None:
    files = made.write_series(tmp_path, made.volume())
    double = dcmread(files[3])
    double.SOPInstanceUID = generate_uid()
    made.save(double, tmp_path / "double.dcm")
    assert code_of(tmp_path) == "DUPLICATE_SLICE"


@pytest.mark.parametrize("lost", [[1], [2, 3], [5]])
def test_gap(tmp_path: Path, lost: list[int]) -> None:
    files = made.write_series(tmp_path, made.volume())
    for k in lost:
        files[k].unlink()
    assert code_of(tmp_path) == "MISSING_SLICE"


def test_missing_slice_error_says_how_many_and_where(tmp_path: Path) -> None:
    made.write_series(tmp_path, made.volume())[4].unlink()
    with pytest.raises(DataError, match=r"about 1 slice is missing \(after slice 4 of 6\)"):
        dicom.read_series(dicom.find_series(tmp_path)[0])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({2: {"ImagePositionPatient": [-10, 20, 35.6]}}, "UNEVEN_SLICES"),
        ({2: {"ImagePositionPatient": [-7, 20, 35.0]}}, "UNEVEN_SLICES"),
        ({2: {"ImagePositionPatient": None}}, "NO_GEOMETRY"),
        ({k: {"ImageOrientationPatient": [1, 0, 0, 0.1, 0.995, 0]} for k in range(7)}, "BAD_ORIENTATION"),
        ({k: {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]} for k in range(7)}, "BAD_ORIENTATION"),
        ({k: {"PixelSpacing": [0, 1]} for k in range(7)}, "BAD_SPACING"),
        ({2: {"RescaleSlope": 0}}, "BAD_RESCALE"),
        ({k: {"BitsAllocated": 64} for k in range(7)}, "BAD_DTYPE"),
        ({k: {"PixelSpacing": None} for k in range(7)}, "BAD_SPACING"),
        ({k: {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]} for k in range(7)}, "NOT_3D"),
        ({2: {"FloatPixelData": bytes(120)}}, "BAD_DTYPE"),
        ({2: {"PixelData": bytes(120)}}, "ABSURD_HEADER"),
    ],
)
def test_headers_that_do_not_add_up(tmp_path: Path, change: dict[int, dict], code: str) -> None:
    made.write_series(tmp_path, made.volume(), per_slice=change)
    assert code_of(tmp_path) == code


def cut(path: Path, part: float) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * part)])


@pytest.mark.parametrize("part", [0.95, 0.8, 0.5, 0.3, 0.1])
def test_cut_files(tmp_path: Path, part: float) -> None:
    files = made.write_series(tmp_path, made.volume((40, 40, 5)))
    cut(files[2], part)
    assert code_of(tmp_path) in ("TRUNCATED", "UNREADABLE")


def test_no_cut_is_taken_for_a_file_that_is_no_image(tmp_path: Path) -> None:
    made.write_series(tmp_path / "s", made.volume())
    raw = made.write_series(tmp_path / "t", made.volume((6, 5, 1)))[0].read_bytes()
    for size in range(1, len(raw), 7):
        (tmp_path / "s" / "cut.dcm").write_bytes(raw[:size])
        with pytest.raises(DataError):
            dicom.read_series(dicom.find_series(tmp_path / "s")[-1])


def test_reports_beside_the_images_are_passed_over(tmp_path: Path) -> None:
    made.write_series(tmp_path, made.volume())
    report = made.base(made.volume(), generate_uid(), Modality="SR")
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    del report.Rows
    made.save(report, tmp_path / "report.dcm")
    private = made.base(made.volume(), generate_uid())
    private.SOPClassUID = "1.3.12.2.1107.5.9.1"
    del private.Rows
    made.save(private, tmp_path / "private.dcm")
    assert len(dicom.find_series(tmp_path)) == 1


def test_empty_and_garbage_files_named_dcm(tmp_path: Path) -> None:
    made.write_series(tmp_path, made.volume())
    for content, code in ((b"", "EMPTY_FILE"), (b"no dicom at all " * 30, "UNREADABLE")):
        (tmp_path / "zz.dcm").write_bytes(content)
        assert code_of(tmp_path) == code


def test_absurd_header_takes_no_memory(tmp_path: Path) -> None:
    path = made.write_series(tmp_path, made.volume((4, 4, 1)))[0]
    ds = dcmread(path)
    ds.Rows, ds.Columns, ds.NumberOfFrames = 60000, 60000, 60000
    made.save(ds, path)
    assert code_of(tmp_path) == "ABSURD_HEADER"


def test_color_is_refused(tmp_path: Path) -> None:
    ds = made.base(np.zeros((4, 5, 1)), generate_uid())
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = bytes(60)
    made.save(ds, tmp_path / "a.dcm")
    assert code_of(tmp_path) == "NOT_GRAYSCALE"


def test_a_folder_without_dicom_and_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("nothing here")
    assert code_of(tmp_path) == "NO_SERIES"
    assert code_of(tmp_path / "note.txt") == "UNREADABLE"
    assert code_of(tmp_path / "absent") == "MISSING_FILE"


def _link(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("link.dcm")
    entry.external_attr = 0o120777 << 16
    archive.writestr(entry, "/etc/passwd")


@pytest.mark.parametrize(
    "fill",
    [
        lambda archive: archive.writestr("../evil.dcm", b"x"),
        lambda archive: archive.writestr("a/../../evil.dcm", b"x"),
        lambda archive: archive.writestr("/evil.dcm", b"x"),
        lambda archive: archive.writestr("..\\evil.dcm", b"x"),
        lambda archive: archive.writestr("C:\\evil.dcm", b"x"),
        _link,
    ],
)
def test_hostile_zip_members_are_refused(tmp_path: Path, fill: Callable[[zipfile.ZipFile], None]) -> None:
    path = tmp_path / "in" / "a.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        fill(archive)
    assert code_of(path) == "BAD_ARCHIVE"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.zip"]


def test_damaged_zips(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_bytes(b"this is no zip")
    assert code_of(tmp_path / "text.zip") == "BAD_ARCHIVE"
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as archive:
        archive.writestr("a.dcm", bytes(1000))
    cut(tmp_path / "cut.zip", 0.5)
    assert code_of(tmp_path / "cut.zip") == "BAD_ARCHIVE"


def test_a_full_disk_is_no_fault_of_the_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.dcm", b"x")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "1.dcm"))

    monkeypatch.setattr("semiseg.images.archive._copy", full)
    with pytest.raises(DataError) as caught:
        Unpacked(tmp_path / "a.zip")
    assert "free some space" in caught.value.hint


def test_a_zip_of_zeros_is_refused_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(80 << 20))
    assert code_of(tmp_path / "a.zip") == "BAD_ARCHIVE"


def test_the_unpacked_zip_goes_away_with_its_series(tmp_path: Path) -> None:
    made.write_series(tmp_path / "s", made.volume())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in (tmp_path / "s").iterdir():
            archive.write(file, file.name)
    series = dicom.find_series(tmp_path / "a.zip")
    folder = series[0].files[0].parent
    assert folder.is_dir()
    series[0].unpacked.cleanup()
    assert not folder.exists()
