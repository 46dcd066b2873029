"""``check`` on gray values: the modality of a channel, labels that lie flipped; one line for many cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.factories import make_dataset
from tests.images.damage import SHAPE, image, label, load, save

from semiseg.dataset.check import check
from semiseg.dataset.problem import Problem, as_lines

BODY = (20, 24, 16)


def named(folder: Path, channel: str) -> Path:
    content = json.loads((folder / "dataset.json").read_text())
    content["channel_names"] = {"0": channel}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def found(folder: Path, code: str) -> list[Problem]:
    return [problem for problem in check(folder, workers=1).problems if problem.code == code]


@pytest.mark.parametrize(
    ("channel", "air", "wanted"),
    [
        ("CT", {"case_00", "case_01", "un_00"}, None),
        ("CT", {"case_00", "case_01"}, "in 1 of 3 scans (un_00) of channel CT"),
        ("CT", set(), "in all scans of channel CT"),
        ("T1", {"un_00"}, "in 1 of 3 scans (un_00) of channel T1"),
        ("T1", set(), None),
        ("image", {"un_00"}, None),
    ],
)
def test_scans_of_another_modality_are_told(
    tmp_path: Path, channel: str, air: set[str], wanted: str | None
) -> None:
    folder = named(make_dataset(tmp_path, labeled=2, unlabeled=1, test=0, shape=SHAPE), channel)
    for case in air:
        path = image(folder, case, "imagesUn" if case.startswith("un") else "imagesTr")
        voxels = load(path)
        voxels[0, 0, 0] = -1000
        save(path, voxels)
    problems = found(folder, "MIXED_MODALITY")
    assert [problem.severity for problem in problems] == ["warning"] * (wanted is not None)
    assert wanted is None or wanted in problems[0].got


def organ(folder: Path, case: str, flip: tuple[int, ...]) -> None:
    """A CT in air whose organ stands out; its label flipped."""
    rng = np.random.default_rng(len(case) + sum(flip))
    scan = np.full(BODY, -1000.0)
    scan[2:-2, 2:-2, 1:-1] = 40
    scan[2:-2:2, 2:-2, 1:-1] = -60  # fat between muscles
    scan[3:8, 4:9, 2:6] = 400  # bone
    mask = np.zeros(BODY, np.uint8)
    mask[10:16, 14:20, 3:7] = 1
    scan[mask > 0] = 110
    save(image(folder, case), (scan + rng.normal(0, 8, BODY)).astype(np.int16))
    save(label(folder, case), np.flip(mask, flip).copy())


@pytest.mark.parametrize(
    ("flips", "wanted"),
    [
        ([(), (), ()], None),
        ([(1,), (1,), (1,)], "labels of 3 of 3 CT scans"),
        ([(), (), (1,)], "labels of 1 of 3 CT scans (case_02)"),
        ([(2,), (), ()], "labels of 1 of 3 CT scans (case_00)"),
    ],
)
def test_labels_that_lie_flipped_on_their_ct(
    tmp_path: Path, flips: list[tuple[int, ...]], wanted: str | None
) -> None:
    folder = named(make_dataset(tmp_path, labeled=3, unlabeled=0, test=0, shape=SHAPE), "CT")
    for number, flip in enumerate(flips):
        organ(folder, f"case_{number:02d}", flip)
    problems = found(folder, "FLIPPED_LABEL")
    assert len(problems) == (wanted is not None)
    if wanted is not None:
        assert wanted in problems[0].got
        assert f"axis {'yz'[max(max(flips)) - 1]}" in problems[0].got


def test_the_channel_off_the_labels_grid_is_the_odd_one_though_it_comes_first(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=1, test=0, channels=2, shape=SHAPE)
    for case, part in (("case_00", "imagesTr"), ("un_00", "imagesUn")):
        path = folder / part / f"{case}_0000.nii.gz"
        save(path, load(path)[1:])
    assert [p.file for p in found(folder, "SHAPE_MISMATCH")] == [
        "imagesTr/case_00_0000.nii.gz",
        "imagesUn/un_00_0001.nii.gz",
    ]


def test_one_fault_of_many_cases_is_one_line(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=6, unlabeled=0, test=0, channels=2, shape=SHAPE)
    content = json.loads((folder / "dataset.json").read_text())
    content["channel_names"] = {"0": "DWI", "1": "FLAIR"}
    (folder / "dataset.json").write_text(json.dumps(content))
    for number in range(5):
        path = folder / "imagesTr" / f"case_{number:02d}_0001.nii.gz"
        save(path, load(path)[1:])
    report = check(folder, workers=1)
    lines = [line for line in report.as_text().splitlines() if "SHAPE_MISMATCH" in line]
    assert len(lines) == 1
    assert lines[0].startswith("error SHAPE_MISMATCH FLAIR of 5 cases (case_00, case_01 and 3 more): got ")
    assert len([p for p in report.as_dict()["problems"] if p["code"] == "SHAPE_MISMATCH"]) == 5


def test_lines_of_few_or_of_different_kinds_stay_apart() -> None:
    few = [Problem("NAN", "3 NaN voxels", case=f"c{n}", file="labelsTr/x.nii") for n in range(3)]
    others = [Problem("SPLITS", "a"), Problem("SPLITS", "b"), Problem("SPLITS", "c"), Problem("SPLITS", "d")]
    assert len(as_lines([*few, *others])) == 7
    many = [Problem("NAN", f"{n} NaN voxels", case=f"c{n}", file=f"imagesTr/c{n}_0000.nii") for n in range(9)]
    (line,) = as_lines(many, ["CT"])
    assert line == "error NAN CT of 9 cases (c0, c1 and 7 more): got 0 NaN voxels in c0 (others differ)"
