"""Adopting Decathlon folders, DICOM, and names of all kinds."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.factories import blob

from semiseg.dataset.adopt import adopt
from semiseg.dataset.adopt.names import clean_id, folder_part, folder_role, take_apart
from semiseg.dataset.check import check
from semiseg.dataset.dataset import Dataset
from semiseg.errors import DataError, UsageError
from semiseg.images import read, write
from semiseg.images.grid import Grid


def decathlon(root: Path, *, named: str = "{}.nii.gz") -> Path:
    folder = root / "Task05_Prostate"
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, part in (("p_00", "imagesTr"), ("p_01", "imagesTr"), ("p_02", "imagesTs")):
        image, label = blob((9, 8, 7), 3, 2, rng)
        affine = np.diag([0.6, 0.6, 3.6, 1])
        nib.save(nib.Nifti1Image(np.moveaxis(image, 0, -1), affine), folder / part / f"{name}.nii.gz")
        if part == "imagesTr":
            nib.save(nib.Nifti1Image(label, affine), folder / "labelsTr" / f"{name}.nii.gz")
    (folder / "imagesTr" / "._p_00.nii.gz").write_bytes(b"mac")
    listed = [{"image": f"./imagesTr/p_0{n}.nii.gz", "label": f"./labelsTr/p_0{n}.nii.gz"} for n in (0, 1)]
    described = {
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "PZ", "2": "TZ"},
        "numTraining": 2,
        "training": listed,
        "test": ["./imagesTs/p_02.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def pile(root: Path, ending: str, names: Sequence[str] = ("a", "b", "c")) -> Path:
    folder = root / "pile"
    folder.mkdir()
    rng = np.random.default_rng(0)
    shape = (12, 11, 10) if ending in (".nii.gz", ".nrrd", ".mha") else (40, 30)
    for name in names:
        voxels = rng.integers(0, 200, shape, np.uint8)
        write(folder / f"{name}{ending}", voxels, Grid(shape, np.eye(4)))
    return folder


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".png", ".tif"])
@pytest.mark.parametrize("link", [False, True])
def test_a_cut_scan_is_not_copied(tmp_path: Path, ending: str, link: bool) -> None:
    """What its header shows is left out with a word; what shows among the voxels ends it."""
    folder, goal = pile(tmp_path, ending), tmp_path / "Dataset007_Cut"
    path = folder / f"b{ending}"
    path.write_bytes(path.read_bytes()[:-200])
    if ending in (".mha", ".png"):  # whose headers, or readers of headers, know where the file ends
        notices = adopt(folder, goal, link=link).notices
        assert any(f"left out {path.name}" in notice for notice in notices)
        assert {case.id for case in Dataset.open(goal).unannotated} == {"a", "c"}
        return
    with pytest.raises(DataError, match=path.name):
        adopt(folder, goal, link=link)
    assert not goal.exists()


def test_why_no_scan_can_be_used_is_told_beside_good_masks(tmp_path: Path) -> None:
    mask, grid = np.eye(9, dtype=np.uint8)[..., None], Grid((9, 9, 1), np.eye(4))
    for part in ("imgs", "masks"):
        write(tmp_path / "pile" / part / "a.nii", mask, grid)
    image = tmp_path / "pile" / "imgs" / "a.nii"
    raw = bytearray(image.read_bytes())
    raw[280:328] = bytes(48)  # the sform, which counts
    image.write_bytes(raw)
    with pytest.raises(DataError, match=r"only 1 mask: left out imgs/a\.nii: no usable geometry"):
        adopt(tmp_path / "pile", tmp_path / "Dataset007_Cut")


def test_every_damaged_scan_is_named_at_once(tmp_path: Path) -> None:
    folder = pile(tmp_path, ".nii.gz", "abcde")
    for name in "de":  # the first ones are read before
        raw = bytearray((folder / f"{name}.nii.gz").read_bytes())
        raw[-6] ^= 1  # in the checksum
        (folder / f"{name}.nii.gz").write_bytes(raw)
    with pytest.raises(DataError, match="2 files cannot be used") as caught:
        adopt(folder, tmp_path / "Dataset007_Cut")
    assert [Path(file).name for file in caught.value.details["files"]] == ["d.nii.gz", "e.nii.gz"]


def test_decathlon_images_are_split_into_channels(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    result = adopt(source, tmp_path / "Dataset005_Prostate")
    assert check(result.folder).errors == []
    dataset = Dataset.open(result.folder)
    assert dataset.channel_names == ("T2", "ADC")
    assert dataset.labels == {"background": 0, "PZ": 1, "TZ": 2}
    assert [c.id for c in dataset.annotated] == ["p_00", "p_01"]
    assert [c.id for c in dataset.test] == ["p_02"]
    whole = nib.load(source / "imagesTr" / "p_00.nii.gz")
    second = read(dataset.annotated[0].images[1])
    np.testing.assert_array_equal(second.array, np.asarray(whole.dataobj)[..., 1])
    np.testing.assert_allclose(second.grid.affine, whole.affine)


def test_decathlon_lists_that_name_absent_files(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    (source / "labelsTr" / "p_01.nii.gz").unlink()
    (source / "imagesTs" / "p_02.nii.gz").unlink()
    with pytest.raises(DataError, match="names 2 files that are not there") as caught:
        adopt(source, tmp_path / "out")
    assert "p_01" in caught.value.message
    assert not (tmp_path / "out").exists()


def test_dicom_folders_and_zips(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "raw-samples" / "dicom_hippocampus"
    result = adopt(source, tmp_path / "Dataset301_Dicom")
    dataset = Dataset.open(result.folder)
    assert dataset.channel_names == ("MRI",)
    assert [c.id for c in dataset.unannotated] == ["Study1", "Study2", "Study3"]
    assert read(dataset.unannotated[0].images[0]).array.ndim == 3
    with zipfile.ZipFile(tmp_path / "scan7.zip", "w") as archive:
        for path in sorted((source / "Study2").iterdir()):
            archive.write(path, f"inside/{path.name}")
    zipped = Dataset.open(adopt(tmp_path / "scan7.zip", tmp_path / "Dataset302_Zip").folder)
    assert [c.id for c in zipped.unannotated] == ["scan7"]
    one, other = read(zipped.unannotated[0].images[0]), read(dataset.unannotated[1].images[0])
    np.testing.assert_array_equal(one.array, other.array)
    assert one.grid.matches(other.grid)


def test_a_dicom_series_meets_its_nifti_mask(shared_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "pile"
    (source / "Study1").mkdir(parents=True)
    for path in (shared_data / "raw-samples" / "dicom_hippocampus" / "Study1").iterdir():
        (source / "Study1" / path.name).write_bytes(path.read_bytes())
    series = adopt(source, tmp_path / "first")
    volume = nib.load(Dataset.open(series.folder).unannotated[0].images[0])
    mask = (np.asarray(volume.dataobj) > 100).astype(np.uint8)
    nib.save(nib.Nifti1Image(mask, volume.affine), source / "Study1_mask.nii.gz")
    result = adopt(source, tmp_path / "second")
    assert check(result.folder).errors == []
    assert [c.id for c in Dataset.open(result.folder).annotated] == ["Study1"]


def test_frames_of_a_patient_are_kept_together(tmp_path: Path) -> None:
    source, rng = tmp_path / "ACDC", np.random.default_rng(0)
    for patient in (1, 2, 101):
        folder = source / ("testing" if patient > 100 else "training") / f"patient{patient:03d}"
        folder.mkdir(parents=True)
        for frame in (1, 12):
            image, label = blob((9, 8, 7), 4, 1, rng)
            name = f"patient{patient:03d}_frame{frame:02d}"
            nib.save(nib.Nifti1Image(image[0], np.eye(4)), folder / f"{name}.nii.gz")
            nib.save(nib.Nifti1Image(label, np.eye(4)), folder / f"{name}_gt.nii.gz")
        cine = np.stack([image[0]] * 5, -1)
        nib.save(nib.Nifti1Image(cine, np.eye(4)), folder / f"patient{patient:03d}_4d.nii.gz")
        (folder / "Info.cfg").write_text("ED: 1")
    result = adopt(source, tmp_path / "out")
    assert any("patient001_4d" in notice for notice in result.notices)
    assert check(result.folder).errors == []
    dataset = Dataset.open(result.folder)
    assert len(dataset.test) == 2
    assert {c.id[:10] for c in dataset.split(labeled=2).labeled} in ({"patient001"}, {"patient002"})
    with pytest.raises(UsageError, match="cuts patient"):
        dataset.split(labeled=1)


def test_sessions_with_and_without_masks_are_only_noticed(tmp_path: Path) -> None:
    source, rng = tmp_path / "bids", np.random.default_rng(0)
    for session in (1, 2):
        image, label = blob((9, 8, 7), 2, 1, rng)
        folder = source / "sub-01" / f"ses-{session}" / "anat"
        folder.mkdir(parents=True)
        nib.save(nib.Nifti1Image(image[0], np.eye(4)), folder / f"sub-01_ses-{session}_FLAIR.nii.gz")
    masks = source / "derivatives" / "lesions" / "sub-01" / "ses-1"
    masks.mkdir(parents=True)
    nib.save(nib.Nifti1Image(label, np.eye(4)), masks / "sub-01_ses-1_label-lesion_mask.nii.gz")
    result = adopt(source, tmp_path / "out")
    assert any("sub-01" in notice for notice in result.notices)
    split = Dataset.open(result.folder).split()
    assert [c.id for c in split.labeled] == ["sub-01_ses-1"]
    assert [c.id for c in split.unlabeled] == ["sub-01_ses-2"]


@pytest.mark.parametrize(
    ("stem", "key", "is_label", "modality"),
    [
        ("patient001_frame01_gt", "patient001_frame01", True, None),
        ("lgemri", "", False, None),
        ("laendo", "", True, None),
        ("imaging", "", False, None),
        ("BraTS19_2013_0_1_t1ce", "BraTS19_2013_0_1", False, "t1ce"),
        ("sub-01_ses-2_T1w", "sub-01_ses-2", False, "t1w"),
        ("ct_train_1001_image", "ct_train_1001", False, None),
        ("image_001", "001", False, None),
        ("label_001", "001", True, None),
        ("gradient", "gradient", False, None),
    ],
)
def test_file_names(stem: str, key: str, is_label: bool, modality: str | None) -> None:
    taken = take_apart(stem)
    assert (taken.key, taken.is_label, taken.modality) == (key, is_label, modality)


@pytest.mark.parametrize(
    ("name", "role", "part"),
    [
        ("labelsTr", "label", "train"),
        ("imagesTs", "image", "test"),
        ("myTraining_Label248", "label", "train"),
        ("ISIC-2017_Training_Part1_GroundTruth", "label", "train"),
        ("unlabelled", None, "unlabeled"),
        ("validation", None, "val"),
        ("case_00000", None, None),
    ],
)
def test_folder_names(name: str, role: str | None, part: str | None) -> None:
    assert (folder_role(name), folder_part(name)) == (role, part)


def test_ids_are_safe_file_names() -> None:
    assert clean_id("Müller, Hans/1 (2)") == "Müller_Hans_1_2"
    assert clean_id("...") == "case"
