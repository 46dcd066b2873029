"""``adopt`` makes a sound dataset of every way people lay out scans and masks."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image
from tests.factories import blob, make_dataset

from semiseg.dataset.adopt import AdoptResult, adopt
from semiseg.dataset.check import check
from semiseg.dataset.dataset import Dataset
from semiseg.errors import DataError, UsageError
from semiseg.images import read

SHAPE = (9, 8, 7)


def scan(path: Path, seed: int, *, mask: bool = False, values: tuple[int, ...] = (0, 1)) -> None:
    """One synthetic scan or its mask, in the format of the path's ending."""
    image, label = blob(SHAPE, len(values), 1, np.random.default_rng(seed))
    array = np.array(values)[label].astype(np.int16) if mask else image[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".nrrd"):
        image = SimpleITK.GetImageFromArray(array.T)
        image.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])  # LPS, the same place as the NIfTI files' RAS
        SimpleITK.WriteImage(image, str(path))
    else:
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def sound(result: AdoptResult) -> Dataset:
    """The result passes ``check`` and opens."""
    report = check(result.folder)
    assert report.errors == [], report.as_text()
    return Dataset.open(result.folder)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def ids(cases: tuple) -> list[str]:
    return [case.id for case in cases]


def test_a_flat_pile_with_masks_beside(tmp_path: Path) -> None:
    source = tmp_path / "my scans"
    for n in range(4):
        scan(source / f"patient{n}.nii.gz", n)
        if n < 2:
            scan(source / f"patient{n}_seg.nii.gz", n, mask=True)
    (source / "._patient0.nii.gz").write_bytes(b"mac")
    (source / "thesis.docx").write_bytes(b"words")
    before = tree(source)
    result = adopt(source)
    assert tree(source) == before
    assert result.folder == tmp_path / "Dataset201_MyScans"
    dataset = sound(result)
    assert ids(dataset.annotated) == ["patient0", "patient1"]
    assert ids(dataset.unannotated) == ["patient2", "patient3"]
    assert dataset.labels == {"background": 0, "foreground": 1}
    assert result.counts == {"labeled": 2, "unlabeled": 2, "val": 0, "test": 0}
    assert [n for n in result.notices if "._patient0" in n]
    assert [n for n in result.notices if "thesis.docx" in n]
    assert {p.name for p in tmp_path.iterdir()} == {"my scans", "Dataset201_MyScans"}


def test_case_folders_with_nrrd_and_masks_of_255(tmp_path: Path) -> None:
    source = tmp_path / "2018LA_Seg_Training Set"
    names = ["06SR5RBREL16DQ6M8LWS", "0RZDK210BSMWAA6467LU", "1D7CUD1955YZPGK8XHJX"]
    for n, name in enumerate(names):
        scan(source / name / "lgemri.nrrd", n)
        scan(source / name / "laendo.nrrd", n, mask=True, values=(0, 255))
    result = adopt(source, tmp_path / "Dataset101_LA")
    dataset = sound(result)
    assert ids(dataset.annotated) == names
    assert (dataset.file_ending, dataset.label_map) == (".nrrd", {255: 1})
    assert any("255" in decision for decision in result.decisions)


def test_mixed_endings_become_nifti(tmp_path: Path) -> None:
    source = tmp_path / "pile"
    scan(source / "images" / "a.nrrd", 0)
    scan(source / "images" / "b.nii.gz", 1)
    scan(source / "masks" / "a.nii.gz", 0, mask=True)
    scan(source / "masks" / "b.nii.gz", 1, mask=True)
    dataset = sound(adopt(source, tmp_path / "out"))
    assert dataset.file_ending == ".nii.gz"
    converted, original = read(dataset.annotated[0].images[0]), read(source / "images" / "a.nrrd")
    np.testing.assert_array_equal(converted.array, original.array)
    assert converted.grid.matches(original.grid)


def test_sequences_are_channels_and_incomplete_cases_are_named(tmp_path: Path) -> None:
    source = tmp_path / "brats"
    for n, name in enumerate(("BraTS19_1", "BraTS19_2", "BraTS19_3")):
        for word in ("flair", "t1", "t1ce", "t2"):
            if (name, word) != ("BraTS19_3", "t2"):
                scan(source / "HGG" / name / f"{name}_{word}.nii.gz", 10 * n + len(word))
        scan(source / "HGG" / name / f"{name}_seg.nii.gz", 10 * n, mask=True, values=(0, 1, 2, 4))
    with pytest.raises(DataError, match=r"1 of 3 cases lack a channel: BraTS19_3 \(T2\)"):
        adopt(source, tmp_path / "out")
    result = adopt(source, tmp_path / "out", missing="out")
    dataset = Dataset.open(result.folder)
    assert dataset.channel_names == ("T1", "T1c", "T2", "FLAIR")
    assert ids(dataset.annotated) == ["BraTS19_1", "BraTS19_2"]
    assert dataset.label_map == {4: 3}
    assert any("BraTS19_3" in notice for notice in result.notices)


@pytest.mark.parametrize("numbered", [True, False])
def test_four_digits_are_channels_or_case_numbers(tmp_path: Path, numbered: bool) -> None:
    source = tmp_path / "pile"
    for n in range(2):
        for c in range(2):
            scan(source / "images" / f"case_{n}_{c:04d}.nii.gz", 2 * n + c)
        suffix = "_0000" if numbered else ""
        scan(source / "labels" / f"case_{n}{suffix}.nii.gz", n, mask=True)
    dataset = sound(adopt(source, tmp_path / "out"))
    assert len(dataset.channel_names) == (1 if numbered else 2)
    assert len(dataset.annotated) == 2
    assert len(dataset.unannotated) == (2 if numbered else 0)


def test_test_and_validation_folders(tmp_path: Path) -> None:
    source = tmp_path / "pile"
    for n, part in enumerate(("train", "val", "test", "unlabeled")):
        for k in range(2):
            scan(source / part / "image" / f"{k:03d}.nii.gz", 2 * n + k)
            if part != "unlabeled":
                scan(source / part / "label" / f"{k:03d}.nii.gz", 2 * n + k, mask=True)
    result = adopt(source, tmp_path / "out")
    dataset = sound(result)
    split = dataset.split()
    assert ids(split.labeled) in (["train_000", "train_001"], ["train_001", "train_000"])
    assert ids(split.val) == ["val_000", "val_001"]
    assert ids(split.test) == ["test_000", "test_001"]
    assert ids(split.unlabeled) == ["unlabeled_000", "unlabeled_001"]
    assert result.counts == {"labeled": 2, "unlabeled": 2, "val": 2, "test": 2}


def test_masks_are_told_by_their_content(tmp_path: Path) -> None:
    source = tmp_path / "pile"
    for n in range(3):
        scan(source / f"{n}_a.nii.gz", n)
        scan(source / f"{n}_b.nii.gz", n, mask=True)
    result = adopt(source, tmp_path / "out")
    assert ids(sound(result).annotated) == ["0_a", "1_a", "2_a"]
    assert any("taken for masks" in decision for decision in result.decisions)


def test_previews_beside_volumes_are_left_out(tmp_path: Path) -> None:
    source = tmp_path / "pile"
    for n in range(3):
        scan(source / f"p{n}.nii.gz", n)
        scan(source / f"p{n}_seg.nii.gz", n, mask=True)
    Image.new("RGB", (9, 8), (9, 0, 7)).save(source / "p0_snp.png")
    result = adopt(source, tmp_path / "out")
    dataset = sound(result)
    assert len(dataset.channel_names) == 1
    assert ids(dataset.annotated) == ["p0", "p1", "p2"]
    assert [n for n in result.notices if "p0_snp.png" in n]


def test_gray_pictures_saved_in_color_are_one_channel(tmp_path: Path) -> None:
    source, rng = tmp_path / "us", np.random.default_rng(0)
    for folder in ("images", "labels"):
        (source / folder).mkdir(parents=True)
    for n in range(3):
        gray = Image.fromarray(rng.integers(0, 255, (12, 10), dtype=np.uint8))
        gray.convert("RGB").save(source / "images" / f"us{n}.png")
        Image.fromarray(np.eye(12, 10, dtype=np.uint8)).save(source / "labels" / f"us{n}.png")
    dataset = sound(adopt(source, tmp_path / "out"))
    assert len(dataset.channel_names) == 1


def test_color_pictures_with_black_and_white_masks(tmp_path: Path) -> None:
    source, rng = tmp_path / "skin", np.random.default_rng(0)
    for folder in ("Data", "Label"):
        (source / folder).mkdir(parents=True)
    for n in range(3):
        pixels = rng.integers(0, 255, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(source / "Data" / f"ISIC_{n:07d}.jpg", quality=100)
        mask = np.zeros((12, 10), np.uint8)
        mask[2:5, 2:5] = 255
        colors = np.stack([mask] * 3, -1) if n == 0 else mask
        Image.fromarray(colors).save(source / "Label" / f"ISIC_{n:07d}_segmentation.png")
    dataset = sound(adopt(source, tmp_path / "out"))
    assert dataset.file_ending == ".png"
    assert dataset.channel_names == ("R", "G", "B")
    assert dataset.label_map == {255: 1}
    assert read(dataset.annotated[0].images[0]).array.shape == (12, 10, 3)
    assert read(dataset.annotated[0].label).array.shape == (12, 10)


def test_the_right_layout_only_gets_its_dataset_json(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, channels=2, classes=3, shape=(16, 16, 16), order=False)
    (folder / "dataset.json").unlink()
    before = tree(folder)
    result = adopt(folder)
    after = tree(folder)
    assert result.folder == folder
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"dataset.json"}
    dataset = sound(result)
    assert len(dataset.channel_names) == 2
    assert list(dataset.labels) == ["background", "structure 1", "structure 2"]
    with pytest.raises(UsageError) as caught:
        adopt(folder)
    assert caught.value.code == "ALREADY_A_DATASET"


def test_names_may_be_given(tmp_path: Path) -> None:
    source = tmp_path / "pile"
    scan(source / "a.nii.gz", 0)
    scan(source / "a_mask.nii.gz", 0, mask=True, values=(0, 3))
    result = adopt(source, tmp_path / "out", channel_names={0: "CT"}, label_names={3: "liver"})
    written = json.loads((result.folder / "dataset.json").read_text())
    assert written["channel_names"] == {"0": "CT"}
    assert written["labels"] == {"background": 0, "liver": 1}
    with pytest.raises(UsageError, match="channel 4"):
        adopt(source, tmp_path / "other", channel_names={4: "CT"})


def test_linking_copies_nothing(tmp_path: Path) -> None:
    source = tmp_path / "pile"
    scan(source / "a.nii.gz", 0)
    scan(source / "a_mask.nii.gz", 0, mask=True)
    linked = adopt(source, tmp_path / "linked", link=True)
    copied = adopt(source, tmp_path / "copied")
    name = "imagesTr/a_0000.nii.gz"
    assert (linked.folder / name).samefile(source / "a.nii.gz")
    assert not (copied.folder / name).samefile(source / "a.nii.gz")


def test_values_to_ignore(tmp_path: Path) -> None:
    source = tmp_path / "pile"
    scan(source / "a.nii.gz", 0)
    scan(source / "a_mask.nii.gz", 0, mask=True, values=(0, 1, 255))
    dataset = sound(adopt(source, tmp_path / "out"))
    assert (dataset.ignore_value, dataset.label_map) == (2, {255: 2})
    assert list(dataset.labels) == ["background", "foreground"]


def test_what_cannot_be_adopted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "pile", tmp_path / "out"
    with pytest.raises(UsageError, match="no folder"):
        adopt(source, target)
    source.mkdir()
    with pytest.raises(DataError, match="no scan found"):
        adopt(source, target)
    scan(source / "a.nii.gz", 0)
    scan(source / "zebra_mask.nii.gz", 0, mask=True)
    with pytest.raises(DataError, match="zebra_mask"):
        adopt(source, target)
    (source / "zebra_mask.nii.gz").rename(source / "a_mask.nii.gz")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(UsageError, match="disk full"):
            adopt(source, target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pile"]
    target.mkdir()
    (target / "precious").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        adopt(source, target)
    assert tree(target) == {"precious": b"mine"}
