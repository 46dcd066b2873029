"""``semiseg init`` and ``predict`` on HDF5 and npz: scan and label in one file, slices, voxel sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.lookalikes import LA_IDS, acdc_h5, la_h5

from semiseg.dataset.adopt import adopt
from semiseg.dataset.check import check
from semiseg.dataset.dataset import Dataset
from semiseg.errors import UsageError
from semiseg.images import read, read_label
from semiseg.prediction.scans import find_scans

h5py = pytest.importorskip("h5py")


@pytest.mark.parametrize("whole", [True, False])
def test_volumes_and_slices_make_the_same_dataset(tmp_path: Path, whole: bool) -> None:
    source = acdc_h5(tmp_path / "ACDC", whole=whole)
    result = adopt(source, tmp_path / "out")
    assert check(result.folder).errors == []
    dataset = Dataset.open(result.folder)
    assert len(dataset.annotated) == 8
    case = dataset.annotated[0]
    assert case.id == "patient011_frame01"
    volume = read(case.images[0])
    assert (volume.grid.shape, volume.grid.unit) == ((14, 16, 5), "px")
    with h5py.File(acdc_h5(tmp_path / "whole") / "data" / f"{case.id}.h5") as file:
        np.testing.assert_array_equal(volume.array, file["image"][()].transpose(1, 2, 0))
        np.testing.assert_array_equal(read_label(case.label).array, file["label"][()].transpose(1, 2, 0))
    assert any("no voxel size" in text for text in result.notices)


def test_slices_are_ordered_by_number_and_gaps_are_told(tmp_path: Path) -> None:
    source = acdc_h5(tmp_path / "ACDC", names=["p1_frame01", "p2_frame01"], shape=(12, 30, 26), whole=False)
    (source / "data" / "slices" / "p2_frame01_slice_7.h5").unlink()
    result = adopt(source, tmp_path / "out")
    (case,) = Dataset.open(result.folder).annotated
    image = read(case.images[0]).array
    assert (np.diff(image[29, 25]) > 0).all()  # 0.01 more in each slice, far from the mask
    assert any("p2_frame01" in text and "slices are missing" in text for text in result.notices)


def test_slices_of_volumes_that_are_there_whole_are_left_out(tmp_path: Path) -> None:
    source = acdc_h5(acdc_h5(tmp_path / "ACDC"), whole=False)
    result = adopt(source, tmp_path / "out")
    assert len(Dataset.open(result.folder).annotated) == 8
    assert any("left out the slices of 8 volumes" in text for text in result.notices)


def test_a_size_that_is_asked_for(tmp_path: Path) -> None:
    source = la_h5(tmp_path / "LA")
    result = adopt(source, tmp_path / "out", spacing=(0.625, 0.625, 0.625))
    case = Dataset.open(result.folder).annotated[0]
    for path in (*case.images, case.label):
        grid = read(path).grid
        assert (grid.spacing, grid.unit) == ((0.625, 0.625, 0.625), "mm")
    with pytest.raises(UsageError, match="a spacing of 2 numbers"):
        adopt(source, tmp_path / "other", spacing=(1.0, 1.0))


def test_lists_beside_the_data_say_who_is_who(tmp_path: Path) -> None:
    source = la_h5(tmp_path / "LA")
    (source / "val.txt").write_text(f"{LA_IDS[2].lower()}.h5,x\nstranger")
    (source / "test.txt").write_bytes(b"\xff\xfe\x00")  # no list, and no reason to fail
    result = adopt(source, tmp_path / "out")
    dataset = Dataset.open(result.folder)
    split = dataset.split()
    for cases, names in ((split.labeled, (0, 1, 3)), (split.val, (2,)), (split.test, (4,))):
        assert len(cases) == len(names)
        assert all(LA_IDS[k] in case.id for case, k in zip(cases, names, strict=True))
    assert any("1 name in these lists is no case here: stranger" in text for text in result.notices)
    assert check(result.folder).errors == []


@pytest.mark.parametrize("whole", [True, False])
def test_predict_finds_and_reads_them(tmp_path: Path, whole: bool) -> None:
    source = acdc_h5(tmp_path / "ACDC", names=["p1_frame01", "p2_frame01"], whole=whole)
    scans = find_scans(source / "data", ["noNorm"])
    assert [(scan.id, scan.ending) for scan in scans] == [
        ("p1_frame01", ".nii.gz"),
        ("p2_frame01", ".nii.gz"),
    ]
    image, grid, _ = scans[0].load()
    assert (image.shape, grid.shape, grid.unit) == ((1, 14, 16, 5), (14, 16, 5), "px")


def test_original_files(tmp_path: Path, shared_data: Path) -> None:
    samples = shared_data / "raw-samples"
    result = adopt(samples / "la_h5", tmp_path / "la", spacing=(0.625, 0.625, 0.625))
    (case,) = Dataset.open(result.folder).annotated
    assert read(case.images[0]).grid.shape == (231, 143, 88)
    result = adopt(samples / "acdc_h5", tmp_path / "acdc")
    assert [case.id for case in Dataset.open(result.folder).annotated] == [
        "patient001_frame01",
        "patient001_frame02",
    ]
    assert read(Dataset.open(result.folder).annotated[0].images[0]).grid.shape == (256, 216, 10)
