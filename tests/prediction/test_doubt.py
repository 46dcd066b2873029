"""Doubt in numbers that can be computed by hand, and the Dice that is expected of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.factories import make_dataset
from tests.trained import make_plan, make_run

import semiseg
from semiseg.inference.accumulate import Slab
from semiseg.prediction.doubt import FILE, SCORE, Calibration, Doubt, Known


def of(*probabilities: list[float], slabs: int = 1) -> dict:
    """Voxels given by their class probabilities, as one column of a volume."""
    array = torch.tensor(probabilities).T.reshape(len(probabilities[0]), -1, 1, 1)
    doubt = Doubt(make_plan(classes=len(probabilities[0])))
    for start, rows in zip(range(0, array.shape[1], slabs), array.split(slabs, 1), strict=True):
        doubt.add(Slab(start, rows))
    return doubt.result()


def test_certain_uniform_and_in_between() -> None:
    certain = of([1.0, 0.0], [0.0, 1.0])
    assert certain["score"] == certain["soft_dice"] == certain["inside"] == 0
    found = of([0.5, 0.5], [0.2, 0.8], slabs=2)  # the first voxel is background: ties go to the first class
    nats = -(0.2 * np.log(0.2) + 0.8 * np.log(0.8)) / np.log(2)
    assert found["entropy"] == pytest.approx(1 + nats, abs=1e-5)
    assert found["score"] == found[SCORE]
    assert found["inside"] == pytest.approx(nats, abs=1e-5)
    assert found["soft_dice"] == pytest.approx(1 - 2 * 0.8 / (1.3 + 1), abs=1e-5)
    assert found["class_entropy"] == {"structure 1": pytest.approx(nats, abs=1e-5)}


def test_the_number_of_slabs_changes_nothing_and_a_class_that_is_not_there_does_not_count() -> None:
    voxels = ([0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.9, 0.05, 0.05])
    assert of(*voxels, slabs=1) == of(*voxels, slabs=4)
    found = of(*voxels)
    assert found["class_entropy"]["structure 2"] is None
    assert found["soft_dice"] == pytest.approx(1 - found["confidence"]["structure 1"], abs=1e-5)


def test_nothing_predicted_is_doubtful_and_finite() -> None:
    found = of([0.9, 0.1], [0.6, 0.4])
    assert found["soft_dice"] == found["inside"] == 1
    assert np.isfinite(found["score"])


def known(count: int, noise: float, seed: int = 0) -> list[Known]:
    rng = np.random.default_rng(seed)
    scores = np.exp(rng.uniform(-3, 0, count))
    dice = 0.6 - 0.1 * np.log(scores) + noise * rng.standard_normal(count)
    return [
        Known(str(i), float(d), {SCORE: float(s)}) for i, (s, d) in enumerate(zip(scores, dice, strict=True))
    ]


def test_a_line_is_found_and_more_doubt_is_never_better() -> None:
    line = Calibration(known(20, 0.0), "validation list")
    found = line.expected({SCORE: float(np.exp(-2.0))})
    assert found is not None
    assert found.value == pytest.approx(0.8, abs=1e-3)
    wrong = [Known(str(i), 0.5 + 0.04 * i, {SCORE: 0.1 + 0.1 * i}) for i in range(8)]
    flat = Calibration(wrong, "x")
    values = [flat.expected({SCORE: score}).value for score in (0.1, 0.5, 0.9)]  # type: ignore[union-attr]
    assert values[0] == values[1] == values[2]


def test_intervals_hold_as_often_as_they_say() -> None:
    hits = []
    for seed in range(60):
        scans = known(40, 0.05, seed)
        line = Calibration(scans[:20], "x")
        for one in scans[20:]:
            found = line.expected(one.doubt)
            assert found is not None
            hits.append(found.low <= min(one.dice, 1.0) <= found.high)
    assert 0.87 < np.mean(hits) < 0.97


def test_few_scans_promise_less_and_too_few_nothing() -> None:
    eight = Calibration(known(8, 0.05), "4 folds")
    assert eight.expected({SCORE: 0.2}).coverage == pytest.approx(8 / 9)  # type: ignore[union-attr]
    three = Calibration(known(3, 0.05), "4 folds").told({SCORE: 0.2})
    assert three["expected_dice"] is None
    assert "only 3 calibration scans" in three["expected_dice_reason"]


def test_a_record_has_the_expected_dice_or_says_why_not(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, labeled=1, unlabeled=1, test=0, shape=(10, 10, 10))
    run = make_run(tmp_path / "run", make_plan())

    def record(*names: str, **options: object) -> dict:
        out = tmp_path / "-".join(("out", *names))
        models = [run, make_run(tmp_path / "other", make_plan(), shift=0.1)] if "two" in names else run
        semiseg.predict(folder / "imagesUn", out, models, device="cpu", workers=0, **options)  # type: ignore[arg-type]
        return json.loads((out / "un_00.json").read_text())

    without = record("without")
    assert without["expected_dice"] is None
    assert "--calibrate" in without["expected_dice_reason"]
    assert without["uncertainty"]["score"] > 0
    scans = [
        Known(one.case, one.dice, {**one.doubt, "entropy": 0.1, "inside": 0.1}) for one in known(8, 0.02)
    ]
    Calibration(scans, "validation list", {"overlap": 0.5}).save(run / FILE)
    found = record("with")
    assert set(found["expected_dice"]) == {"value", "low", "high", "coverage"}
    assert "8 scans (validation list)" in found["expected_dice_reason"]
    other = record("overlap", overrides={"overlap": 0.25})
    assert other["expected_dice"] is None
    assert "another overlap" in other["expected_dice_reason"]
    assert "ensemble" in record("two")["expected_dice_reason"]
    (run / FILE).write_text("{")
    assert record("damaged")["expected_dice"] is None
