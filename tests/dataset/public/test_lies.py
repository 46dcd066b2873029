"""Folders that are not what they seem: copies, two forms, archives, half files, lists of every kind."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests import lookalikes

from semiseg.dataset.adopt import adopt
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.public.convert import convert
from semiseg.errors import DataError, SemisegError, UsageError

FOUR, TEST = list(lookalikes.LA_IDS[:4]), lookalikes.LA_IDS[4]


@pytest.mark.parametrize(
    ("name", "look", "count"),
    [
        ("la", "la_raw", 5), ("la", "la_h5", 5), ("acdc", "acdc_raw", 8), ("acdc", "acdc_h5", 8),
        ("brats2019", "brats_raw", 5), ("promise12", "promise12", 6), ("isles2022", "isles", 4),
        ("kvasir", "kvasir", 5), ("btcv", "btcv_raw", 0),
    ],
)  # fmt: skip
def test_copies_are_passed_over_and_other_files_of_one_case_refused(
    name: str, look: str, count: int, tmp_path: Path
) -> None:
    source = getattr(lookalikes, look)(tmp_path / "source")
    alone = convert(name, source, tmp_path / "alone", allow_missing=True)
    shutil.copytree(source, source / "zz again")
    result = convert(name, source, tmp_path / "out", allow_missing=True)
    assert result.counts == alone.counts
    assert not count or sum(result.counts.values()) == count
    assert any("copies" in text for text in result.notices)
    for file in (source / "zz again").rglob("*"):
        if file.is_file() and file.suffix not in (".cfg", ".csv", ".list", ".ini", ".txt"):
            file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(DataError, match="are two files of one case, and they differ"):
        convert(name, source, tmp_path / "no", allow_missing=True)
    assert not (tmp_path / "no").exists()


def packed_twice(folder: Path, source: Path) -> None:
    with zipfile.ZipFile(folder / "inner.zip", "w") as archive:
        for file in source.rglob("*.h5"):
            archive.write(file, file.relative_to(source))
    with zipfile.ZipFile(folder / "outer.zip", "w") as archive:
        archive.write(folder / "inner.zip", "inner.zip")
    (folder / "inner.zip").unlink()


def tarred(folder: Path, source: Path) -> None:
    with tarfile.open(folder / "all.tar.gz", "w:gz") as archive:
        archive.add(source, "la")


@pytest.mark.parametrize(
    ("pack", "shown"),
    [(packed_twice, "outer/inner.zip"), (tarred, "all.tar.gz")]
    + [
        (lambda folder, _, e=e: (folder / f"x{e}").write_bytes(b"x"), f"x{e}")
        for e in (".7z", ".rar", ".tar")
    ],
)
def test_archives_that_are_not_opened_are_named(
    pack: Callable[[Path, Path], object], shown: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    pack(tmp_path / "in", lookalikes.la_h5(tmp_path / "source"))
    with pytest.raises(DataError) as found:
        convert("la", tmp_path / "in", tmp_path / "out")
    assert f"1 archive is not opened: {shown}. Unpack" in found.value.hint
    with pytest.raises(DataError) as found:
        adopt(tmp_path / "in", tmp_path / "out")
    assert found.value.hint.startswith("unpack it first")


def test_downloads_that_have_not_ended_and_the_other_form_are_told(tmp_path: Path) -> None:
    source = lookalikes.la_raw(tmp_path / "source")
    lookalikes.la_h5(source / "h5")
    (source / "more.nrrd.crdownload").write_bytes(b"x")
    (source / "__MACOSX").mkdir()
    (source / "__MACOSX" / "._lgemri.nrrd").write_bytes(b"x")
    result = convert("la", source, tmp_path / "out", allow_missing=True)
    told = "\n".join(result.notices)
    assert "1 download has not ended: more.nrrd.crdownload" in told
    assert "left out 5 h5 or npz files beside the raw form, for the two are never mixed" in told
    assert len(Dataset.open(result.folder).annotated) == 4
    (zipped := tmp_path / "la.zip").write_bytes(b"x")
    with pytest.raises(UsageError, match="is a file") as found:
        convert("la", zipped, tmp_path / "no")
    assert "zips in there are opened" in found.value.hint


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ("\r\n".join(FOUR), ""),
        ("\ufeff" + "  \n".join(FOUR) + "\t\n\n", ""),
        ("\n".join(f"/home/x/{name}/mri_norm2.h5" for name in FOUR), ""),
        ("\n".join(f"D:\\data\\{name}\\mri_norm2.h5" for name in FOUR), ""),
        ("\n".join(f"{name.lower()}/" for name in FOUR), ""),
        ("# mine\n" + "\n".join(f'"{name}"\t1' for name in FOUR), ""),
        ("\n".join([*FOUR, FOUR[0].lower()]), "twice"),
        ("\n".join([*FOUR, "NOBODY"]), "1 case of the split files is not in the folder: NOBODY"),
        ("ImageID\n" + "\n".join(FOUR), "not in the folder: ImageID"),
        ("\n \n", "names no case"),
        ("\0\udcff", "cannot be read as a list of names"),
    ],
)
def test_lists_of_every_kind(train: str, said: str, tmp_path: Path) -> None:
    source = lookalikes.la_h5(tmp_path / "source")
    (source / "train.list").write_bytes(train.encode("utf-8", "surrogateescape"))
    if said:
        with pytest.raises(SemisegError, match=said):
            convert("la", source, tmp_path / "out", split="files")
        assert not (tmp_path / "out").exists()
        return
    result = convert("la", source, tmp_path / "out", split="files")
    assert (result.splits["order"], result.splits["test"]) == (FOUR, [TEST])


def test_a_case_of_two_lists_is_not_trained_on(tmp_path: Path) -> None:
    source = lookalikes.la_h5(tmp_path / "source")
    lookalikes.write_list(source / "test.list", [TEST, FOUR[0]])
    result = convert("la", source, tmp_path / "out", split="files")
    assert result.splits["order"] == FOUR[1:]
    assert f"1 case of the list for training in another list, too, not trained on: {FOUR[0]}" in (
        result.notices
    )


@pytest.mark.parametrize("form", ["image18", "18", "image0018_norm.h5", "PANCREAS_0018"])
def test_numbers_with_and_without_zeros_are_one_case(form: str, tmp_path: Path) -> None:
    source = lookalikes.pancreas_h5(tmp_path / "source")
    lookalikes.write_list(source / "train.list", [form, "image0050"])
    lookalikes.write_list(source / "test.list", ["57"])
    result = convert("pancreas-ct", source, tmp_path / "out", split="files")
    assert result.splits["order"] == ["PANCREAS_0018", "PANCREAS_0050"]
    assert result.splits["test"] == ["PANCREAS_0057"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": None}, "no array of the scan, or none of its label"),
        ({"image": None}, "no array of the scan, or none of its label"),
        (
            {"label": np.zeros((13, 12, 10), np.uint8)},
            "its label has 13 x 12 x 10 voxels, its image 14 x 12 x 10",
        ),
    ],
)
def test_h5_without_a_scan_or_label_of_its_own(
    change: dict[str, np.ndarray | None], said: str, tmp_path: Path
) -> None:
    source = lookalikes.la_h5(tmp_path / "source")
    file = source / "2018LA_Seg_Training Set" / FOUR[1] / "mri_norm2.h5"
    with h5py.File(file, "a") as opened:
        for name, array in change.items():
            del opened[name]
            if array is not None:
                opened[name] = array
    with pytest.raises(DataError, match=said):
        convert("la", source, tmp_path / "out", split="files")
    assert not (tmp_path / "out").exists()
    result = convert("la", source, tmp_path / "out", split="files", allow_missing=True)
    assert result.splits["order"] == [FOUR[0], *FOUR[2:]]
