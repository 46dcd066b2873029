"""Which scans a path holds, by name alone."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.factories import make_dataset
from tests.images import synthetic_dicom as made

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
        assert scans[0].shown == (studies / "Study1",)

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

    def test_a_series_without_a_word_is_no_channel_of_two(self, studies: Path) -> None:
        assert set(found(studies, TWO).values()) == {"CHANNELS"}


def test_a_link_to_nothing_fails_as_such(tmp_path: Path) -> None:
    (tmp_path / "b.nii.gz").symlink_to("nowhere")
    with pytest.raises(DataError, match="is a broken link"):
        find_scans(tmp_path, ONE)
    touch(tmp_path, "a.nii.gz")
    _, lost = find_scans(tmp_path, ONE)
    with pytest.raises(DataError, match="is a broken link"):
        lost.load()


TABLE = [
    # what lies there, the model's channels, scan -> files or code
    (["liver_0000.nii.gz", "liver_0001.nii.gz", "UPPER.NII.GZ"], ONE, {
        "UPPER": ["UPPER.NII.GZ"], "liver_0000": ["liver_0000.nii.gz"], "liver_0001": ["liver_0001.nii.gz"]}),
    (["1.2.840.1.nii.gz", "pat 1.v1.nii.gz", "Jörg.1.nii.gz", "m.a.mhd"], ONE, {
        "1.2.840.1": ["1.2.840.1.nii.gz"], "Jörg.1": ["Jörg.1.nii.gz"], "m.a": ["m.a.mhd"],
        "pat 1.v1": ["pat 1.v1.nii.gz"]}),
    (["Müller T1.nii.gz", "Müller FLAIR.nii.gz", "Müller T2.nii.gz"], TWO, {
        "Müller": ["Müller T1.nii.gz", "Müller FLAIR.nii.gz"]}),
    (["Patient 21/T1.nii.gz", "Patient 21/flair.nii.gz", "Patient 21/seg.nii.gz", "Möller/t1.nii.gz"], TWO, {
        "Möller": "MISSING_CHANNEL", "Patient_21": ["T1.nii.gz", "flair.nii.gz"]}),
    (["Jörg/T1 axial.nii.gz", "Jörg/FLAIR dark fluid.nii.gz"], TWO, {
        "Jörg": ["T1 axial.nii.gz", "FLAIR dark fluid.nii.gz"]}),
    (["P T1 tra.nii.gz", "P T1 post Gd tra.nii.gz"], ["T1", "T1c"], {
        "P": ["P T1 tra.nii.gz", "P T1 post Gd tra.nii.gz"]}),
    (["P/T1/x.nii.gz", "P/FLAIR/x.nii.gz"], TWO, {"x": ["x.nii.gz", "x.nii.gz"]}),
    (["T1_0012.nii.gz", "T1_0013.nii.gz"], ["T1"], {
        "T1_0012": ["T1_0012.nii.gz"], "T1_0013": ["T1_0013.nii.gz"]}),
    (["T1 pat 12.nii.gz", "FLAIR pat 12.nii.gz"], TWO, {
        "pat 12": ["T1 pat 12.nii.gz", "FLAIR pat 12.nii.gz"]}),
    (["a ADC map.nii.gz", "a b800.nii.gz"], ["b800", "ADC map"], {
        "a": ["a b800.nii.gz", "a ADC map.nii.gz"]}),
    (["p T1.nii.gz", "p T2.nii.gz", "q T2.nii.gz"], ["T1"], {"p T1": ["p T1.nii.gz"], "q T2": "CHANNELS"}),
    (["p T1.nii.gz", "p T2.nii.gz"], ["MRI"], {"p T1": ["p T1.nii.gz"], "p T2": ["p T2.nii.gz"]}),
    (["p/T1.nii.gz", "p/T2.nii.gz"], ["MRI"], {"T1": ["T1.nii.gz"], "T2": ["T2.nii.gz"]}),
    (["a.nii.gz", "a_seg.nii.gz", "mask_study.nii.gz"], ONE, {
        "a": ["a.nii.gz"], "mask_study": ["mask_study.nii.gz"]}),
    (["a.nii.gz", "labels/a.nii.gz", "out/a.nii.gz", "out/prediction_report.json"], ONE, {"a": ["a.nii.gz"]}),
    (["P1/a.nii.gz", "P2/a.nii.gz", "P1/a.nii"], ONE, {"P1_a": "SAME_NAME", "P2_a": ["a.nii.gz"]}),
]  # fmt: skip


@pytest.mark.parametrize(("names", "channels", "expected"), TABLE)
def test_piles_are_read_as_init_reads_them(
    tmp_path: Path, names: list[str], channels: list[str], expected: dict[str, list[str] | str]
) -> None:
    assert found(touch(tmp_path / "pile", *names), channels) == expected


def test_how_numbers_were_understood_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    find_scans(touch(tmp_path, "liver_0000.nii.gz", "liver_0001.nii.gz"), ONE)
    assert "taken for 2 scans" in caplog.text


def test_a_folder_of_one_patient_gives_its_name(tmp_path: Path) -> None:
    folder = touch(tmp_path / "Patient 21", "T1.nii.gz", "FLAIR.nii.gz")
    assert found(folder, TWO) == {"Patient 21": ["T1.nii.gz", "FLAIR.nii.gz"]}
    assert found(folder / "FLAIR.nii.gz", TWO) == {"Patient 21": ["T1.nii.gz", "FLAIR.nii.gz"]}


def test_a_dataset_of_other_channels_is_refused_and_another_order_followed(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, channels=2, test=1)
    description = json.loads((folder / "dataset.json").read_text())
    for names, expected in ((["T1", "FLAIR"], [0, 1]), (["flair", "T1"], [1, 0])):
        description["channel_names"] = dict(enumerate(names))
        (folder / "dataset.json").write_text(json.dumps(description))
        for place in (folder, folder / "imagesTs"):
            assert found(place, TWO) == {"ts_00": [f"ts_00_{k:04d}.nii.gz" for k in expected]}
            with pytest.raises(DataError, match=f"the channels {', '.join(names)}; the model wants T1, T2"):
                find_scans(place, ["T1", "T2"])


def test_zips_of_nifti_and_frames_of_4d_files(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 6, 2)).astype(np.float32)
    (tmp_path / "in" / "Anna").mkdir(parents=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "in" / "Anna" / "x.nii.gz")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "in" / "Anna" / "x.nii.gz", "Anna/x.nii.gz")
    for place in (tmp_path / "in", tmp_path / "all.zip"):
        (scan,) = find_scans(place, TWO)
        np.testing.assert_allclose(scan.load()[0], np.moveaxis(array, -1, 0))
    assert scan.shown == (tmp_path / "all.zip" / "Anna" / "x.nii.gz",)
    assert scan.files == (tmp_path / "all.zip",)
    with pytest.raises(DataError, match="2 frames, the model wants 4 channels"):
        find_scans(tmp_path / "in", ["a1", "a2", "a3", "a4"])[0].load()


def test_values_of_a_vector_are_no_frames(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(4, 5, 6, 1, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "v.nii.gz")
    nib.save(nib.Nifti1Image(array[..., 0, :], np.eye(4)), tmp_path / "t.nii.gz")
    scans = {scan.id: scan for scan in find_scans(tmp_path, ONE)}
    assert sorted(scans) == ["t_t000", "t_t001", "v"]
    with pytest.raises(DataError, match="v: 2 values per voxel, the model wants one channel"):
        scans["v"].load()
    (scan,) = find_scans(tmp_path / "v.nii.gz", TWO)
    assert scan.load()[0].shape == (2, 4, 5, 6)


def test_series_in_a_zip_have_the_names_of_their_folders(tmp_path: Path) -> None:
    uids = [made.write_series(tmp_path / "in" / who, made.volume()) for who in ("Anna", "Bernd", "Clara")]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in sorted((tmp_path / "in").rglob("*.dcm")):
            archive.write(file, file.relative_to(tmp_path))
    scans = find_scans(tmp_path / "all.zip", ONE)
    assert [scan.id for scan in scans] == ["Anna", "Bernd", "Clara"]
    assert all(len(scan.series) == 1 for scan in scans)
    assert len({scan.series for scan in scans}) == 3, uids
