from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from semiseg.dataset.dataset import Dataset
from semiseg.demo.phantoms import LABELS, make_phantom, make_phantom_dataset
from semiseg.errors import UsageError


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): np.asarray(nib.load(p).dataobj).tobytes()
        for p in sorted(folder.rglob("*.nii.gz"))
    }


def test_phantoms_are_the_same_for_the_same_seed_and_differ_otherwise(tmp_path: Path) -> None:
    one = make_phantom_dataset(tmp_path / "one", labeled=1, unlabeled=1, test=1)
    two = make_phantom_dataset(tmp_path / "two", labeled=1, unlabeled=2, test=1)
    other = make_phantom_dataset(tmp_path / "other", labeled=1, unlabeled=1, test=1, seed=1)
    first, second, third = content(one), content(two), content(other)
    assert first.items() <= second.items()  # more cases leave the others as they are
    assert len({*first.values(), *third.values()}) == len(first) + len(third)


def test_the_dataset_says_that_it_is_synthetic_and_hides_the_truth_of_unlabeled_scans(tmp_path: Path) -> None:
    folder = make_phantom_dataset(tmp_path / "data", labeled=2, unlabeled=3, test=1)
    description = json.loads((folder / "dataset.json").read_text())
    assert "SYNTHETIC" in description["description"]
    assert "ynthetic" in description["name"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "dataset.json", "imagesTr", "imagesTs", "imagesUn", "labelsTr", "labelsTs",
    ]  # fmt: skip
    assert len(list((folder / "labelsTr").iterdir())) == 2
    dataset = Dataset.open(folder)
    assert len(dataset.annotated) == 2
    assert len(dataset.unannotated) == 3
    assert dataset.labels == LABELS


def test_every_phantom_has_both_parts_in_one_piece_and_ordinary_intensities() -> None:
    from scipy.ndimage import label

    for i in range(6):
        phantom = make_phantom(np.random.default_rng(i))
        assert phantom.label.shape == phantom.image.shape
        assert phantom.image.min() >= 0
        assert np.isfinite(phantom.image).all()
        for value in (1, 2):
            pieces, _ = label(phantom.label == value)
            sizes = np.bincount(pieces.ravel())[1:]
            assert sizes.max() > 100
            assert sizes.max() / sizes.sum() > 0.95


def test_intensity_alone_does_not_find_the_organ() -> None:
    phantom = make_phantom(np.random.default_rng(3))
    organ = phantom.label > 0
    low, high = np.percentile(phantom.image[organ], [10, 90])
    look_alike = (phantom.image > low) & (phantom.image < high) & ~organ
    assert look_alike.sum() > organ.sum()


def test_the_whole_demo_in_miniature(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from semiseg.demo.demo import run

    folder = tmp_path / "demo"
    with caplog.at_level(logging.INFO, "semiseg"):
        result = run(
            folder, iterations=2, device="cpu", workers=1, progress=False, labeled=2, unlabeled=1, test=1
        )
    assert list(result.runs) == ["supervised", "fixmatch"]
    assert all((run / "test" / "phantom_ts_000.nii.gz").is_file() for run in result.runs.values())
    (group,) = result.comparison.groups
    assert [arm.name for arm in group.arms] == ["supervised", "fixmatch"]
    assert group.cases == ("phantom_ts_000",)
    assert result.report == folder / "comparison" / "report.html"
    report = result.report.read_text("utf-8")
    assert "Synthetic phantoms, made so that unlabeled scans help" in report
    assert report.count("data:image/webp;base64,") == 2  # the only case of each method
    assert "| supervised (baseline) |" in (folder / "comparison" / "table.md").read_text("utf-8")
    assert result.as_dict()["synthetic"] is True
    json.dumps(result.as_dict(), allow_nan=False)
    assert "1/5" in caplog.text


def test_the_demo_does_not_touch_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    from semiseg.demo.demo import run

    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="other than a demo"):
        run(tmp_path, iterations=1)
    assert (tmp_path / "runs").is_dir()
