"""Each convention counts as its users do, empty masks above all."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.masks import pairs, plain_distances

from semiseg.errors import UsageError
from semiseg.evaluation.case import evaluate
from semiseg.evaluation.conventions import CONVENTIONS, find

PREDICTION, REFERENCE, _ = pairs()["noise"]
SPACING = (0.8, 0.8, 3.0)
NOTHING = np.zeros_like(REFERENCE)
NAN = math.nan
REPOSITORY = Path(__file__).resolve().parent.parent.parent


def score(prediction, reference, convention, **options) -> dict[str, float]:
    found = evaluate(
        prediction.astype(np.uint8), reference.astype(np.uint8), SPACING, {"x": 1}, convention, **options
    )
    return found["x"]


def test_the_names_and_units_of_the_interface():
    units = {name: rule.unit for name, rule in CONVENTIONS.items()}
    assert units == {
        "semiseg": "mm",
        "uamt": "voxel",
        "ssl4mis": "voxel",
        "pymic": "mm",
        "monai": "mm",
        "reloaded": "mm",
        "nnunet": "mm",
        "brats": "mm",
    }


def test_unknown_convention_suggests_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'nnunet'"):
        score(PREDICTION, REFERENCE, "nnunt")


@pytest.mark.parametrize("name", [n for n, c in CONVENTIONS.items() if c.distances])
def test_definitions_against_their_formula(name):
    rule = find(name)
    there, back = plain_distances(PREDICTION, REFERENCE, SPACING if rule.unit == "mm" else None)
    assd = np.concatenate([there, back]).mean()
    if name in ("uamt", "ssl4mis"):
        assd = (there.mean() + back.mean()) / 2
    hd95 = {
        "pooled": np.percentile(np.concatenate([there, back]), 95),
        "max": max(np.percentile(there, 95), np.percentile(back, 95)),
        "max-rank": max(np.sort(d)[int(len(d) * 0.95)] for d in (there, back)),
    }[rule.hd95]
    got = score(PREDICTION, REFERENCE, name)
    assert got["HD95"] == pytest.approx(hd95)
    assert got["HD95Max"] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert got["ASD"] == pytest.approx(assd if name == "pymic" else there.mean())
    assert got["ASDReverse"] == pytest.approx(assd if name == "pymic" else back.mean())
    assert got["ASSD"] == pytest.approx(assd)


def test_the_definitions_differ_here_so_that_the_test_above_can_fail():
    found = {name: score(PREDICTION, REFERENCE, name) for name in ("semiseg", "uamt", "monai", "pymic")}
    assert len({round(f["HD95"], 6) for f in found.values()}) == 4
    assert found["semiseg"]["ASD"] != pytest.approx(found["pymic"]["ASD"])


DIAGONAL = float(np.linalg.norm(np.array(REFERENCE.shape) * SPACING))
EMPTIES = [  # convention, mask that is empty, Dice, HD95, ASD, ASSD
    ("semiseg", "both", NAN, NAN, NAN, NAN),
    ("semiseg", "prediction", 0, DIAGONAL, DIAGONAL, DIAGONAL),
    ("semiseg", "reference", 0, DIAGONAL, DIAGONAL, DIAGONAL),
    ("uamt", "both", 0, 0, 0, 0),
    ("uamt", "prediction", 0, 0, 0, 0),
    ("uamt", "reference", 0, NAN, NAN, NAN),
    ("ssl4mis", "both", 0, 0, 0, 0),
    ("ssl4mis", "prediction", 0, 0, 0, 0),
    ("ssl4mis", "reference", 0, 0, 0, 0),
    ("pymic", "both", 1, 0, 0, 0),
    ("pymic", "prediction", 0, 100, 20, 20),
    ("pymic", "reference", 0, 100, 20, 20),
    ("monai", "both", NAN, NAN, NAN, NAN),
    ("monai", "prediction", 0, math.inf, math.inf, math.inf),
    ("monai", "reference", NAN, math.inf, math.inf, math.inf),
    ("reloaded", "both", 1, 0, 0, 0),
    ("reloaded", "prediction", 0, DIAGONAL, DIAGONAL, DIAGONAL),
    ("reloaded", "reference", 0, DIAGONAL, DIAGONAL, DIAGONAL),
    ("brats", "both", 1, 0, 0, 0),
    ("brats", "prediction", 0, 373.13, 373.13, 373.13),
    ("brats", "reference", 0, 373.13, 373.13, 373.13),
]


@pytest.mark.parametrize(("convention", "empty", "dice", "hd95", "asd", "assd"), EMPTIES)
def test_empty_masks(convention, empty, dice, hd95, asd, assd):
    pair = {"both": (NOTHING, NOTHING), "prediction": (NOTHING, REFERENCE), "reference": (REFERENCE, NOTHING)}
    got = score(*pair[empty], convention)
    wanted = {"Dice": dice, "Jaccard": dice, "HD95": hd95, "HD95Max": hd95, "ASD": asd, "ASSD": assd}
    assert {m: got[m] for m in wanted} == pytest.approx(wanted, nan_ok=True)
    assert (got["n_pred"] == 0, got["n_ref"] == 0) == (empty != "reference", empty != "prediction")


@pytest.mark.parametrize(("prediction", "reference", "dice"), [(0, 0, NAN), (0, 1, 0), (1, 0, 0)])
def test_nnunet_has_overlap_only(prediction, reference, dice):
    got = score(REFERENCE * prediction, REFERENCE * reference, "nnunet")
    assert got["Dice"] == pytest.approx(dice, nan_ok=True)
    assert not {"HD95", "ASD", "ASSD", "NSD"} & set(got)


def test_nsd_is_in_millimeters_even_where_distances_are_in_voxels():
    wanted = score(PREDICTION, REFERENCE, "semiseg", nsd_tolerance_mm=2.9)["NSD"]
    assert 0 < wanted < 1
    assert score(PREDICTION, REFERENCE, "uamt", nsd_tolerance_mm=2.9)["NSD"] == pytest.approx(wanted)


def test_the_documentation_has_a_row_for_each_convention():
    text = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+)`[^|]*\| (mm|voxel|-) \|", text, flags=re.MULTILINE)
    wanted = [(name, c.unit if c.distances else "-") for name, c in CONVENTIONS.items()]
    assert documented == wanted
