"""Values that one can work out by hand, several classes, ignored voxels, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.evaluation.masks import pairs

from semiseg.errors import DataError, UsageError
from semiseg.evaluation import METRICS
from semiseg.evaluation.case import evaluate


def two_lines() -> tuple[np.ndarray, np.ndarray]:
    """A row of 4 voxels and the same row 2 columns further, in 2D."""
    prediction, reference = np.zeros((2, 6, 8), np.int16)
    prediction[1:5, 2] = 3
    reference[1:5, 4] = 3
    return prediction, reference


def test_by_hand():
    prediction, reference = two_lines()
    got = evaluate(prediction, reference, (1.0, 0.7), {"background": 0, "line": 3})
    assert list(got) == ["line"]
    line = got["line"]
    assert list(line) == list(METRICS)
    distances = [line[m] for m in ("HD95", "ASD", "ASDReverse", "ASSD")]
    assert distances == pytest.approx([1.4] * 4)
    assert (line["Dice"], line["Jaccard"], line["NSD"], line["VolumeError"]) == (0, 0, 0, 0)
    assert [line[m] for m in ("TP", "FP", "FN", "TN", "n_pred", "n_ref")] == [0, 4, 4, 40, 4, 4]
    assert math.isnan(line["VolumeErrorML"])


def test_nsd_tolerance_includes_its_own_value_despite_float_noise():
    prediction, reference = two_lines()
    at = evaluate(prediction, reference, (1.0, 0.7), {"line": 3}, nsd_tolerance_mm=1.4)
    below = evaluate(prediction, reference, (1.0, 0.7), {"line": 3}, nsd_tolerance_mm=1.39)
    assert (at["line"]["NSD"], below["line"]["NSD"]) == (1, 0)


def test_directions():
    reference = np.zeros((9, 9, 9), np.uint8)
    reference[4, 4, 1:8] = 1
    prediction = np.zeros_like(reference)
    prediction[4, 4, 1] = 1
    got = evaluate(prediction, reference, (1, 1, 2), {"x": 1})["x"]
    assert got["ASD"] == 0  # every predicted voxel is right
    assert got["ASDReverse"] == pytest.approx(2 * np.mean(range(7)))
    assert got["ASSD"] == pytest.approx(2 * sum(range(7)) / 8)


def test_volume_error_is_signed_and_relative():
    reference = np.zeros((10, 10, 10), np.uint8)
    reference[:4] = 1
    prediction = np.zeros_like(reference)
    prediction[:3] = 1
    got = evaluate(prediction, reference, (2, 1, 1), {"x": 1})["x"]
    assert got["VolumeError"] == pytest.approx(-0.25)
    assert got["VolumeErrorML"] == pytest.approx(-100 * 2 / 1000)
    false_alarm = evaluate(reference, np.zeros_like(reference), (2, 1, 1), {"x": 1})["x"]
    assert math.isnan(false_alarm["VolumeError"])
    assert false_alarm["VolumeErrorML"] == pytest.approx(0.8)


def test_each_class_is_scored_as_if_alone():
    first, second = (pairs()[name] for name in ("shifted", "far blob"))
    prediction, reference = np.zeros((2, *first[0].shape), np.uint16)
    for value, (p, r, _) in ((2, first), (900, second)):
        prediction[p & (prediction == 0)] = value
        reference[r & (reference == 0)] = value
    got = evaluate(prediction, reference, (1, 1, 3), {"a": 2, "b": 900, "c": 7})
    for name, value in (("a", 2), ("b", 900)):
        alone = evaluate((prediction == value) * 1, (reference == value) * 1, (1, 1, 3), {"x": 1})
        assert got[name] == pytest.approx(alone["x"], nan_ok=True)
    assert got["c"]["n_ref"] == 0
    assert math.isnan(got["c"]["Dice"])


def test_ignored_voxels_count_nowhere():
    prediction, reference, _ = pairs()["noise"]
    prediction, reference = prediction.astype(np.uint8), reference.astype(np.uint8)
    reference[:, :7] = 255
    got = evaluate(prediction, reference, (1, 1, 1), {"x": 1, "ignore": 255}, ignore=255)
    cut = evaluate(prediction[:, 7:], reference[:, 7:], (1, 1, 1), {"x": 1})
    assert list(got) == ["x"]
    assert got["x"] == pytest.approx(cut["x"])


def test_the_diagonal_is_that_of_the_whole_volume():
    reference = np.zeros((30, 40, 2), np.uint8)
    reference[3, 3, 0] = 1
    got = evaluate(np.zeros_like(reference), reference, (1, 1, 60), {"x": 1})["x"]
    assert got["HD95"] == pytest.approx(130.0)


def test_without_distances():
    prediction, reference = two_lines()
    got = evaluate(prediction, reference, (1, 1), {"line": 3, "none": 1}, distances=False)
    for row in got.values():
        assert {"Dice", "VolumeError", "TP"} <= set(row)
        assert not {"HD95", "HD95Max", "ASD", "ASSD", "ASDReverse", "NSD"} & set(row)


def test_refusals():
    prediction, reference = two_lines()
    with pytest.raises(DataError, match=r"shape \(6, 8\), the reference \(6, 7\)"):
        evaluate(prediction, reference[:, 1:], (1, 1), {"line": 3})
    with pytest.raises(DataError, match="spacing"):
        evaluate(prediction, reference, (1, 1, 1), {"line": 3})
    with pytest.raises(DataError, match="spacing"):
        evaluate(prediction, reference, (1, 0), {"line": 3})
    for tolerance in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="tolerance"):
            evaluate(prediction, reference, (1, 1), {"line": 3}, nsd_tolerance_mm=tolerance)
