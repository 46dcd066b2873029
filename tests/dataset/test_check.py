"""``check`` as a whole: all problems at once, label maps, colors, real data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.factories import make_dataset
from tests.images.damage import SHAPE, change, copied, cut, label, load, save, shifted

from semiseg.dataset.check import Report, check
from semiseg.dataset.problem import Problem
from semiseg.errors import UsageError


def test_a_good_dataset_has_no_problem(tmp_path: Path) -> None:
    report = check(make_dataset(tmp_path, shape=SHAPE))
    assert report.problems == []
    assert report.counts == {"labeled": 3, "unlabeled": 4, "test": 2}
    assert "OK (0 errors, 0 warnings)" in report.as_text()


def test_float_noise_in_the_affine_is_accepted(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, shape=SHAPE)
    save(label(folder), load(label(folder)), shifted(5e-4))
    assert check(folder).problems == []


def test_everything_at_once_and_in_lines(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=4, unlabeled=2, test=1, shape=SHAPE)
    cut(folder)
    change(label(folder, "case_01"), (0, 0, 0), 7)
    save(label(folder, "case_02"), load(label(folder, "case_02"))[1:])
    copied(folder)
    report = check(folder)
    assert {p.code for p in report.errors} >= {"TRUNCATED", "LABEL_VALUES", "SHAPE_MISMATCH"}
    lines = report.as_text().splitlines()
    line = next(line for line in lines if "SHAPE_MISMATCH" in line)
    assert line.startswith(
        "error SHAPE_MISMATCH case_02 labelsTr/case_02.nii.gz: got 7 x 9 x 7 voxels, wanted "
    )
    assert "; fix: " in line
    as_dict = json.loads(json.dumps(report.as_dict()))
    assert as_dict["ok"] is False
    assert as_dict["code"] == report.errors[0].code
    assert len(as_dict["problems"]) == len(report.problems)


def test_channels_must_agree(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, channels=2, shape=SHAPE)
    second = folder / "imagesTr" / "case_00_0001.nii.gz"
    save(second, load(second), shifted(2.0))
    save(folder / "imagesTr" / "case_01_0001.nii.gz", np.zeros(SHAPE, np.float32))
    found = {p.code: p for p in check(folder).problems}
    assert found["AFFINE_MISMATCH"].file == "imagesTr/case_00_0001.nii.gz"
    assert found["CONSTANT_IMAGE"].severity == "warning"


@pytest.mark.parametrize(("values", "proposal"), [((255,), {255: 1}), ((1, 2, 4), {4: 3}), ((2, 5), {})])
def test_a_label_map_is_proposed_and_written(
    tmp_path: Path, values: tuple[int, ...], proposal: dict[int, int]
) -> None:
    classes = 4 if len(values) > 1 else 2
    folder = make_dataset(tmp_path, labeled=2, test=0, classes=classes, shape=(16, 16, 16))
    for case in ("case_00", "case_01"):
        array = load(label(folder, case))
        raw = np.zeros_like(array)
        for index, value in enumerate(values, start=1):
            raw[array == index] = value
        save(label(folder, case), raw)
    report = check(folder)
    wrong = [p for p in report.errors if p.code == "LABEL_VALUES"]
    assert len(wrong) == 2
    assert f"{values[-1]}: " in wrong[0].got
    assert report.proposed_label_map == proposal
    assert ("--fix" in wrong[0].fix) == bool(proposal)
    mended = check(folder, fix=True)
    assert mended.ok == bool(proposal)
    written = json.loads((folder / "dataset.json").read_text())
    assert written.get("label_map", {}) == {str(k): v for k, v in proposal.items()}
    assert check(folder).ok == bool(proposal)
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == ["dataset.json", "splits.json"]


def test_few_cases(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=0, test=0, shape=SHAPE)
    report = check(folder)
    assert {p.code: p.severity for p in report.problems} == {
        "ONE_LABELED": "warning",
        "NO_UNLABELED": "warning",
    }
    label(folder).unlink()
    assert "NO_LABELED" in {p.code for p in check(folder).errors}


def colored(tmp_path: Path, names: list[str], mode: str) -> Report:
    folder = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr", "imagesUn"):
        (folder / part).mkdir(parents=True)
    for part, case in (("imagesTr", "a"), ("imagesTr", "b"), ("imagesUn", "c")):
        pixels = rng.integers(0, 255, (12, 10, len(mode)), dtype=np.uint8).squeeze()
        Image.fromarray(pixels, mode).save(folder / part / f"{case}_0000.png")
    for case in "ab":
        Image.fromarray(np.eye(12, 10, dtype=np.uint8)).save(folder / "labelsTr" / f"{case}.png")
    described = {
        "channel_names": {str(i): name for i, name in enumerate(names)},
        "labels": {"background": 0, "line": 1},
        "numTraining": 2,
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return check(folder)


def test_color_pictures(tmp_path: Path) -> None:
    assert colored(tmp_path / "rgb", ["R", "G", "B"], "RGB").problems == []
    assert colored(tmp_path / "gray", ["gray"], "L").problems == []
    assert colored(tmp_path / "gray as color", ["R", "G", "B"], "L").problems == []
    rows = (("one", ["gray"], "RGB", "RGB"), ("alpha", ["R", "G", "B"], "RGBA", "TRANSPARENT"))
    for name, names, mode, code in rows:
        report = colored(tmp_path / name, names, mode)
        assert {p.code for p in report.errors} == {code}, report.as_text()


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dataset folder"):
        check(tmp_path / "nowhere")


def test_a_problem_is_one_line() -> None:
    problem = Problem("NAN", "3 NaN\nvoxels", "numbers", "export again", "case_1", "a.nii.gz")
    assert (
        problem.as_line() == "error NAN case_1 a.nii.gz: got 3 NaN voxels, wanted numbers; fix: export again"
    )


def test_real_data_is_good(shared_data: Path) -> None:
    assert check(shared_data / "Dataset102_ACDC").errors == []
