"""HDF5 and npz: which array is the scan and which the label, how axes lie, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from tests.lookalikes import save_h5

from semiseg import images
from semiseg.errors import DataError, UsageError
from semiseg.images.grid import Grid, scaling

h5py = pytest.importorskip("h5py")


def written(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path


ENDINGS = [".h5", ".hdf5", ".npy.h5", ".npz"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_image_and_label_of_one_file(tmp_path: Path, ending: str) -> None:
    image = np.random.default_rng(0).random((7, 6, 5))
    path = written(tmp_path / f"a{ending}", image=image, label=np.ones((7, 6, 5), np.float32))
    header, volume, label = images.read_header(path), images.read(path), images.read_label(path)
    assert (header.grid.shape, header.has_label, header.grid.unit) == ((7, 6, 5), True, "px")
    np.testing.assert_array_equal(volume.array, image.astype(np.float32))
    assert volume.array.dtype == np.float32
    assert (label.array == 1).all()


@pytest.mark.parametrize("ending", ENDINGS)
def test_arrays_that_begin_with_slices_are_given_slices_last(tmp_path: Path, ending: str) -> None:
    image = np.arange(3 * 8 * 9, dtype=np.int16).reshape(3, 8, 9)
    path = written(tmp_path / f"a{ending}", image=image, mask=np.zeros((3, 8, 9), np.uint8))
    assert images.read_header(path).grid.shape == (8, 9, 3)
    np.testing.assert_array_equal(images.read(path).array, image.transpose(1, 2, 0))
    assert images.read_label(path).array.shape == (8, 9, 3)


@pytest.mark.parametrize(
    "names", [["image", "mask"], ["IMG", "seg"], ["data"], ["volume", "gt"], ["strange"]]
)
def test_names_of_arrays(tmp_path: Path, names: list[str]) -> None:
    arrays = {name: np.full((4, 4, 4), k, np.uint8) for k, name in enumerate(names)}
    path = written(tmp_path / "a.h5", **arrays)
    assert images.read(path).array[0, 0, 0] == 0
    assert images.read_header(path).has_label == (len(names) == 2)
    assert images.read_label(path).array[0, 0, 0] == len(names) - 1


def test_a_size_that_the_file_says_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", image=np.zeros((2, 6, 7)), label=np.zeros((2, 6, 7), np.uint8))
    with h5py.File(path, "a") as file:
        file["image"].attrs["spacing"] = [10.0, 1.5, 1.25]
    grid = images.read_header(path).grid
    assert (grid.spacing, grid.unit) == ((1.5, 1.25, 10.0), "mm")


def test_an_unknown_size_survives_nifti(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    images.write(path, np.zeros((4, 5, 6), np.uint8), Grid((4, 5, 6), scaling((1, 1, 1)), "px"))
    grid = images.read(path).grid
    assert grid.unit == "px"
    np.testing.assert_array_equal(grid.affine, np.eye(4))
    images.write(path, np.zeros((4, 5, 6), np.uint8), Grid((4, 5, 6), scaling((1, 1, 1))))
    assert images.read(path).grid.unit == "mm"


def test_what_is_refused(tmp_path: Path) -> None:
    fine = written(tmp_path / "fine.h5", image=np.zeros((4, 4, 4)))
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["image"] = h5py.ExternalLink(str(fine), "/image")
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("image", shape=(60_000, 60_000, 60_000), dtype="f4", chunks=(64, 64, 64))
    written(tmp_path / "words.npz", image=np.array([["a", {}]], object))
    written(tmp_path / "other.h5", a=np.zeros((4, 4, 4)), b=np.zeros((4, 4, 4)))
    written(tmp_path / "four.h5", image=np.zeros((2, 4, 4, 4)))
    (tmp_path / "cut.h5").write_bytes(fine.read_bytes()[:900])
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04junk")
    codes = {
        "link.h5": "UNREADABLE", "huge.h5": "ABSURD_HEADER", "words.npz": "BAD_DTYPE", "four.h5": "NOT_3D",
        "other.h5": "UNREADABLE", "cut.h5": "UNREADABLE", "cut.npz": "UNREADABLE",
    }  # fmt: skip
    for name, code in codes.items():
        with pytest.raises(DataError) as caught:
            images.read(tmp_path / name)
        assert (caught.value.code, name in caught.value.message) == (code, True), caught.value
    with pytest.raises(DataError, match=r"read, not written"):
        images.write(tmp_path / "new.h5", np.zeros((4, 4, 4), np.uint8), Grid((4, 4, 4), np.eye(4)))


def test_without_the_package_one_line_names_the_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_h5(tmp_path / "a.h5", np.zeros((4, 4, 4)), np.zeros((4, 4, 4)))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError) as caught:
        images.read(tmp_path / "a.h5")
    assert caught.value.hint == 'pip install "semiseg[h5]"'
