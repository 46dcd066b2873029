"""Papers' figures stand beside runs of the same method, dataset and number of labels only."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.comparison.runs import make_run, spread

from semiseg.comparison.compare import compare
from semiseg.comparison.result import Published
from semiseg.methods import published

LA = {"dataset": "Dataset101_LeftAtrium"}
DICE = spread([0.85, 0.87, 0.86])


def beside(folder: Path, **options) -> tuple[Published, ...]:
    make_run(folder / "run", DICE, **options)
    (group,) = compare([folder]).groups
    return group.published


def test_a_run_with_the_papers_recipe_is_comparable(tmp_path: Path) -> None:
    settings = {"recipe": "la", "protocol": "paper", "method.options.consistency_on": "all"}
    found = beside(
        tmp_path, method="ua_mt", labeled=16, told=LA, settings=settings, convention="uamt", hd95=8.0
    )
    row = next(r for r in published("ua_mt") if r["labeled"] == "16" and r["setting"] == "consistency_on=all")
    dice = next(p for p in found if p.metric == "Dice" and p.setting == row["setting"])
    assert (dice.comparable, dice.why) == (True, "")
    assert dice.value == pytest.approx(float(row["dice"]) / 100)
    assert dice.gap == pytest.approx(0.86 - dice.value)
    hd95 = next(p for p in found if p.metric == "HD95" and p.setting == row["setting"])
    assert hd95.comparable
    assert hd95.gap == pytest.approx(8.0 - float(row["hd95"]))


@pytest.mark.parametrize(("dice", "why"), [("acdc", "published with dice=acdc_legacy"), ("acdc_legacy", "")])
def test_a_figure_of_another_loss_is_not_comparable(tmp_path: Path, dice: str, why: str) -> None:
    settings = {
        "recipe": "acdc", "protocol": "paper", "data.labeled_patients": 3, "method.options.dice": dice,
        "network.name": "unet2d",
    }  # fmt: skip
    told = {"dataset": "Dataset102_ACDC"}
    found = beside(tmp_path, method="bcp", labeled=None, told=told, settings=settings, convention="ssl4mis")
    (one,) = (p for p in found if p.metric == "Dice")
    assert (one.setting, one.comparable, one.why) == ("dice=acdc_legacy", not why, why)


def test_another_recipe_is_not_comparable_and_says_why(tmp_path: Path) -> None:
    found = beside(tmp_path, method="ua_mt", labeled=16, told=LA)
    assert found
    assert not any(p.comparable for p in found)
    assert all("cropped around the ground truth" in p.why for p in found if "all" in p.setting)


def test_millimeters_have_no_gap_to_voxels(tmp_path: Path) -> None:
    found = beside(tmp_path, method="ua_mt", labeled=16, told=LA, settings={"recipe": "la"})
    distances = [p for p in found if p.metric == "HD95"]
    assert distances
    assert all(p.gap != p.gap and "papers give HD95 in voxels" in p.why for p in distances)


@pytest.mark.parametrize(
    "other",
    [
        {"labeled": 15, "told": LA},
        {"labeled": 16, "told": {"dataset": "Dataset104_Hippocampus"}},
        {"labeled": 16, "told": LA, "method": "reciprocal_unknown"},
    ],
)
def test_other_settings_have_no_figures(tmp_path: Path, other: dict) -> None:
    assert beside(tmp_path, **{"method": "ua_mt", **other}) == ()


def test_patients_are_not_scans(tmp_path: Path) -> None:
    acdc = {"dataset": "Dataset102_ACDC"}
    assert beside(tmp_path / "scans", method="ua_mt", labeled=7, told=acdc) == ()
    patients = {"data.labeled": None, "data.labeled_patients": 7, "recipe": "acdc"}
    found = beside(tmp_path / "patients", method="ua_mt", told=acdc, settings=patients)
    assert [p.comparable for p in found if p.metric == "Dice"] == [True]
