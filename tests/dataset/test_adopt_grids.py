"""``init`` on channels of several grids, second masks, cases told by one folder, folders of parts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from semiseg.dataset.adopt import AdoptResult, adopt
from semiseg.dataset.adopt.grids import Resampled
from semiseg.dataset.check import check
from semiseg.errors import DataError, UsageError
from semiseg.images.grid import Grid, Volume, scaling

FINE, COARSE = (12, 12, 10), (6, 6, 5)


def save(path: Path, array: np.ndarray, spacing: float = 1.0, shift: float = 0.0) -> None:
    affine = scaling((spacing,) * 3)
    affine[:3, 3] = shift
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def noise(shape: tuple[int, ...] = FINE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)


def mask(shape: tuple[int, ...] = FINE) -> np.ndarray:
    found = np.zeros(shape, np.uint8)
    found[3:8, 3:8, 3:8] = 1
    return found


def stroke(root: Path, cases: int = 3, odd: int = 3) -> Path:
    """DWI and ADC on the masks' grid; FLAIR of ``odd`` cases on one of twice the voxels."""
    for n in range(cases):
        case = root / f"sub-{n}"
        save(case / f"sub-{n}_dwi.nii.gz", noise())
        save(case / f"sub-{n}_adc.nii.gz", noise(seed=1))
        flair = np.arange(12 * 12 * 10).reshape(FINE) if n >= odd else noise(COARSE)
        save(case / f"sub-{n}_flair.nii.gz", flair.astype(np.int16), 1.0 if n >= odd else 2.0)
        save(case / f"sub-{n}_msk.nii.gz", mask())
    return root


def test_a_channel_on_another_grid_is_named_with_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="FLAIR of all 3 cases lies on another grid than DWI and the masks"
    ) as e:
        adopt(stroke(tmp_path / "s"), tmp_path / "D")
    assert "--resample-to DWI" in e.value.hint
    assert "--channels DWI,ADC" in e.value.hint
    assert not (tmp_path / "D").exists()
    with pytest.raises(DataError, match="FLAIR of 1 of 3 cases"):
        adopt(stroke(tmp_path / "t", odd=1), tmp_path / "D")


def test_channels_are_kept_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    result = adopt(stroke(tmp_path / "s"), tmp_path / "D", channels=["adc", "DWI"])
    assert result.dataset["channel_names"] == {"0": "ADC", "1": "DWI"}
    first = nib.load(next((tmp_path / "D/imagesTr").glob("*_0000.nii.gz"))).get_fdata()
    assert np.array_equal(first, noise(seed=1))
    alone = adopt(tmp_path / "s", tmp_path / "E", channels=["FLAIR"], resample_to="label")
    assert alone.dataset["channel_names"] == {"0": "FLAIR"}
    assert check(tmp_path / "E").errors == []
    for wrong in (["pwi"], ["dwi", "DWI"]):
        with pytest.raises(UsageError):
            adopt(tmp_path / "s", tmp_path / "F", channels=wrong)


@pytest.mark.parametrize(("onto", "shape"), [("dwi", FINE), ("label", FINE), ("FLAIR", COARSE)])
def test_channels_and_masks_are_resampled_onto_one_grid(
    tmp_path: Path, onto: str, shape: tuple[int, ...]
) -> None:
    result = adopt(stroke(tmp_path / "s"), tmp_path / "D", resample_to=onto)
    report = check(tmp_path / "D")
    # no fault, and nothing of a header that was about the other grid
    assert {problem.code for problem in report.problems} == {"NO_UNLABELED", "DUPLICATE_CONTENT"}
    for path in (tmp_path / "D").glob("*Tr/*.nii.gz"):
        assert nib.load(path).shape == shape
    for path in (tmp_path / "D/labelsTr").iterdir():
        assert set(np.unique(nib.load(path).get_fdata())) == {0, 1}
    told = next(line for line in result.decisions if "nothing is registered" in line)
    assert ("FLAIR of 3 cases" in told) is (onto != "FLAIR")
    assert ("the label of 3 cases" in told) is (onto == "FLAIR")


def test_an_unknown_channel_to_resample_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown channel 'pwi'"):
        adopt(stroke(tmp_path / "s"), tmp_path / "D", resample_to="pwi")


def test_a_ramp_stays_the_same_ramp_in_space() -> None:
    """f(x, y, z) = x + 2y + 3z in mm, on a coarse, turned and shifted grid."""
    fine = Grid((20, 20, 20), scaling((1.0, 1.0, 1.0)))
    affine = np.array([[0, 2.0, 0, 3], [-2.0, 0, 0, 15], [0, 0, 2.0, 4], [0, 0, 0, 1]])
    coarse = Grid((5, 4, 6), affine)

    def value(grid: Grid) -> np.ndarray:
        index = np.stack([*np.indices(grid.shape), np.ones(grid.shape)])
        x, y, z, _ = np.einsum("ij,jabc->iabc", grid.affine, index)
        return x + 2 * y + 3 * z

    moved = Resampled(coarse)(Volume(value(fine), fine))
    assert moved.grid is coarse
    assert np.allclose(moved.array, value(coarse), atol=1e-4)
    outside = Grid((2, 2, 2), scaling((1.0, 1.0, 1.0)) + np.pad(np.full((3, 1), 50.0), ((0, 1), (3, 0))))
    assert (Resampled(outside)(Volume(value(fine) + 7, fine)).array == 7).all()


def test_a_second_mask_is_no_unlabeled_scan(tmp_path: Path) -> None:
    for n in range(3):
        case = tmp_path / "s" / f"P{n}"
        save(case / "lgemri.nii.gz", noise(seed=n))
        save(case / "laendo.nii.gz", mask())
        save(case / "lawall.nii.gz", mask() * 255)
        save(tmp_path / "flat" / f"c{n}.nii.gz", noise(seed=n))
        save(tmp_path / "flat" / f"c{n}_seg.nii.gz", mask())
        save(tmp_path / "flat" / f"c{n}_wall.nii.gz", mask())
        save(tmp_path / "flat" / f"u{n}.nii.gz", noise(seed=9 + n))
    result = adopt(tmp_path / "s", tmp_path / "D")
    assert result.counts == {"labeled": 3, "unlabeled": 0, "val": 0, "test": 0}
    assert any("P0/lawall.nii.gz" in notice for notice in result.notices)
    flat = adopt(tmp_path / "flat", tmp_path / "E")
    assert flat.counts["unlabeled"] == 3
    assert any("c0_wall" in notice for notice in flat.notices)


def test_cases_are_named_by_the_one_folder_of_their_own(tmp_path: Path) -> None:
    for n in (1, 2, 12):
        deep = tmp_path / f"s/manifest-77/Pancreas/P_{n:04d}/11-24-2015-P{n:04d}/vol-63502"
        save(deep / "image.nii.gz", noise(seed=n))
        save(tmp_path / f"s/TCIA_labels/label{n:04d}.nii.gz", mask())
    adopt(tmp_path / "s", tmp_path / "D")
    names = sorted(path.name for path in (tmp_path / "D/labelsTr").iterdir())
    assert names == ["P_0001.nii.gz", "P_0002.nii.gz", "P_0012.nii.gz"]


def test_masks_are_paired_by_a_number_anywhere_in_the_path_of_the_scan(tmp_path: Path) -> None:
    for n, phase in ((1, "portal_7"), (2, "late_9"), (11, "portal_3")):
        save(tmp_path / f"s/P_{n:04d}/2015-11-24/{phase}_scan{n + 4}.nii.gz", noise(seed=n))
        save(tmp_path / f"s/labels/label{n:04d}.nii.gz", np.full(FINE, 1, np.uint8) * (n % 3) + mask())
    result = adopt(tmp_path / "s", tmp_path / "D")
    assert result.counts["labeled"] == 3
    rows = (tmp_path / "D/sources.csv").read_text().splitlines()
    case = next(row.split(",")[1] for row in rows if "P_0011" in row)
    assert any(row.split(",")[1] == case and "label0011" in row for row in rows)


def test_sequences_that_no_case_has_all_of_are_named(tmp_path: Path) -> None:
    for n in (1, 2):
        save(tmp_path / f"s/images/t{n}.nii.gz", noise(seed=n))
        save(tmp_path / f"s/labels/t{n}.nii.gz", mask())
    with pytest.raises(DataError, match="no case has all channels t1, t2"):
        adopt(tmp_path / "s", tmp_path / "D")


def parts(root: Path) -> AdoptResult:
    for n in range(3):
        save(root / f"s/Training/images/c{n}.nii.gz", noise(seed=n))
        save(root / f"s/Training/labels/c{n}.nii.gz", mask())
    save(root / "s/TestData/images/x.nii.gz", noise(seed=7))
    save(root / "s/TestData/labels/x.nii.gz", mask())
    save(root / "s/Validation/v.nii.gz", noise(seed=8))
    return adopt(root / "s", root / "D", link=True)


def test_what_folders_of_parts_become_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    told = " | ".join(parts(tmp_path).notices)
    assert "1 test case has a label, for scores only" in told
    assert "1 scan of a validation folder without a mask, now among the unlabeled training scans" in told
    assert "9 files are copies" in told
    assert json.loads((tmp_path / "D/dataset.json").read_text())["numTraining"] == 3


def test_links_are_told_of_only_where_they_could_not_be_made(tmp_path: Path) -> None:
    result = parts(tmp_path)
    assert not any("copies" in notice for notice in result.notices)
    assert (tmp_path / "D/imagesTs/x_0000.nii.gz").stat().st_nlink == 2


def test_colors_of_16_bits_are_refused_with_the_reason(tmp_path: Path) -> None:
    import tifffile

    (tmp_path / "s").mkdir()
    tifffile.imwrite(tmp_path / "s/a.tif", np.zeros((8, 9, 3), np.uint16), photometric="rgb")
    with pytest.raises(DataError, match="3 channels of uint16; colors are read with 8 bits only"):
        adopt(tmp_path / "s", tmp_path / "D")
