"""Which scans a path holds, by name alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.factories import make_dataset

from semiseg import images
from semiseg.errors import DataError, UsageError
from semiseg.images.grid import Grid
from semiseg.prediction.scans import find_scans

ONE, TWO, COLOR = ["MRI"], ["T1", "FLAIR"], ["R", "G", "B"]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def found(path: Path, channels: list[str]) -> dict[str, list[str] | str]:
    """Scan id -> file names, or the code of why it cannot be predicted."""
    result: dict[str, list[str] | str] = {}
    for scan in find_scans(path, channels):
        try:
            scan.load()
        except DataError as error:
            if error.code in ("CHANNELS", "MISSING_CHANNEL", "SAME_NAME"):
                result[scan.id] = error.code
                continue
        result[scan.id] = [file.name for file in scan.files]
    return result


def test_channel_files_are_grouped(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b_0000.nii.gz",
        "b_0001.nii.gz",
        "a_0001.nii.gz",
        "a_0000.nii.gz",
        ".hidden.nii.gz",
        "x.txt",
    )
    assert found(tmp_path, TWO) == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b": ["b_0000.nii.gz", "b_0001.nii.gz"],
    }


def test_missing_and_extra_channels_are_told_per_case(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii", "b_0001.nii", *(f"c_000{k}.nii" for k in range(3)), "d.nii")
    expected = {"a": "MISSING_CHANNEL", "b": "MISSING_CHANNEL", "c": "CHANNELS", "d": "CHANNELS"}
    assert found(tmp_path, TWO) == expected
    with pytest.raises(DataError, match="0001 \\(FLAIR\\)"):
        find_scans(tmp_path, TWO)[0].load()


def test_one_channel_with_or_without_number(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "b.nrrd", "c_0000.mha", "c_0001.mha")
    assert found(tmp_path, ONE) == {"a": ["a_0000.nii.gz"], "b": ["b.nrrd"], "c": "CHANNELS"}


def test_numbered_scans_are_not_numbered_channels(tmp_path: Path) -> None:
    touch(tmp_path, "patient_0011.nii.gz", "patient_0012.nii.gz")
    assert list(found(tmp_path, ONE)) == ["patient_0011", "patient_0012"]


def test_scans_of_one_name_are_refused_all(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "a_0000.nii.gz", "b.nii", "b.nrrd")
    scans = find_scans(tmp_path, ONE)
    assert [scan.id for scan in scans] == ["a", "a", "b", "b"]
    assert found(tmp_path, ONE) == {"a": "SAME_NAME", "b": "SAME_NAME"}


def test_color_pictures_are_three_channels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (5, 4, 3)).astype(np.uint8)
    images.write(tmp_path / "a_0000.png", array, Grid((5, 4), np.eye(4)))
    images.write(tmp_path / "b.png", array, Grid((5, 4), np.eye(4)))
    scans = find_scans(tmp_path, COLOR)
    assert [scan.id for scan in scans] == ["a", "b"]
    for scan in scans:
        np.testing.assert_array_equal(scan.load()[0], np.moveaxis(array, -1, 0))
    assert found(touch(tmp_path / "nifti", "a.nii"), COLOR) == {"a": "CHANNELS"}


def test_a_picture_beside_volumes_is_left_out_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a.nii.gz", "b.nii.gz", "c.mha", "a_snp.png")
    assert list(found(tmp_path, ONE)) == ["a", "b", "c"]
    assert "a_snp.png" in caplog.text


@pytest.mark.parametrize(("channels", "held"), [(ONE, "RGB"), (COLOR, "L")])
def test_gray_saved_in_color_is_gray_and_gray_is_shown_in_color(
    tmp_path: Path, channels: list[str], held: str
) -> None:
    gray = np.random.default_rng(0).integers(0, 255, (5, 4)).astype(np.uint8)
    Image.fromarray(gray).convert(held).save(tmp_path / "a.png")
    image = find_scans(tmp_path, channels)[0].load()[0]
    np.testing.assert_array_equal(image, np.stack([gray] * len(channels)))


def test_label_maps_are_never_lossy_or_in_two_files(tmp_path: Path) -> None:
    names = ["a.jpg", "b.mhd", "c.nhdr", "d.nii", "e.nii.gz", "f.tif", "g.bmp", "h.webp", "i.hdr"]
    endings = [find_scans(touch(tmp_path, name) / name, ONE)[0].ending for name in names]
    assert endings == [".png", ".mha", ".nrrd", ".nii", ".nii.gz", ".tif", ".png", ".png", ".nii.gz"]


def test_one_file_finds_its_other_channels(tmp_path: Path) -> None:
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz")
    assert found(tmp_path / "a_0001.nii.gz", TWO) == {"a": ["a_0000.nii.gz", "a_0001.nii.gz"]}
    assert found(tmp_path / "b_0000.nii.gz", TWO) == {"b": "MISSING_CHANNEL"}
    assert found(tmp_path / "a_0000.nii.gz", ONE) == {"a": ["a_0000.nii.gz"]}
    assert found(tmp_path / "a_0001.nii.gz", ONE) == {"a_0001": ["a_0001.nii.gz"]}


def test_a_dataset_folder_means_its_test_images(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, test=2)
    assert list(found(folder, ONE)) == ["ts_00", "ts_01"]
    for file in [*(folder / "imagesTs").iterdir()]:
        file.unlink()
    (folder / "imagesTs").rmdir()
    with pytest.raises(DataError, match="imagesTs"):
        find_scans(folder, ONE)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        find_scans(tmp_path / "nowhere", ONE)
    with pytest.raises(DataError, match="no images and no DICOM"):
        find_scans(tmp_path, ONE)
    with pytest.raises(DataError, match="no images and no DICOM"):
        find_scans(touch(tmp_path / "texts", "sub/readme.txt"), ONE)


class TestDicom:
    @pytest.fixture
    def studies(self, shared_data: Path) -> Path:
        return shared_data / "raw-samples" / "dicom_hippocampus"

    def test_a_folder_of_studies(self, studies: Path) -> None:
        scans = find_scans(studies, ONE)
        assert [scan.id for scan in scans] == ["Study1", "Study2", "Study3"]
        assert {scan.ending for scan in scans} == {".nii.gz"}
        image, grid, _ = scans[0].load()
        assert image.shape == (1, *grid.shape)
        assert scans[0].shown == studies / "Study1"

    def test_one_study_and_a_zip_of_it_are_the_same(self, studies: Path, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
            for file in (studies / "Study2").iterdir():
                archive.write(file, f"inner/{file.name}")
        (folder,) = find_scans(studies / "Study2", ONE)
        (packed,) = find_scans(tmp_path / "mine.zip", ONE)
        assert (folder.id, packed.id) == ("Study2", "mine")
        np.testing.assert_array_equal(folder.load()[0], packed.load()[0])

    def test_a_broken_study_does_not_hide_the_others(self, studies: Path, tmp_path: Path) -> None:
        (tmp_path / "good").symlink_to(studies / "Study1", target_is_directory=True)
        source = sorted((studies / "Study2").iterdir())[0].read_bytes()
        touch(tmp_path, "bad/1.dcm")
        (tmp_path / "bad" / "1.dcm").write_bytes(source[: len(source) // 2])
        bad, good = find_scans(tmp_path, ONE)
        assert (bad.id, good.id) == ("bad", "good")
        good.load()
        with pytest.raises(DataError):
            bad.load()

    def test_a_preview_beside_a_series_is_left_out_with_a_word(
        self, studies: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for file in (studies / "Study1").iterdir():
            (tmp_path / file.name).symlink_to(file)
        touch(tmp_path, "preview.jpg", "index.html")
        (scan,) = find_scans(tmp_path, ONE)
        assert scan.id == tmp_path.name
        assert scan.load()[0].ndim == 4
        assert "preview.jpg" in caplog.text

    def test_several_channels_are_refused(self, studies: Path) -> None:
        with pytest.raises(DataError, match="one channel"):
            find_scans(studies, TWO)
