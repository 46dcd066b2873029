from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from semiseg.demo.demo import Scores, comparison_markdown, comparison_table, paired_differences


def summary(*dices: float) -> dict:
    entry = lambda i, d: {  # noqa: E731
        "reference_file": f"/somewhere/labelsTs/case.1_{i}.nii.gz",
        "prediction_file": f"/else/case_{i}.nii.gz",
        "metrics": {"1": {"Dice": d, "HD95": 2.0 * i}, "2": {"Dice": None if i == 0 else d / 2, "HD95": 1.0}},
    }
    return {"metric_per_case": [entry(i, d) for i, d in enumerate(dices)]}


LABELS = {"background": 0, "head": 1, "tail": 2}


def test_values_per_class_and_their_mean_leave_undefined_ones_out() -> None:
    scores = Scores.of_summary("ours", summary(0.8, 0.6), LABELS)
    assert scores.classes == ["head", "tail"]
    assert scores.values("Dice", "head") == {"case.1_0": 0.8, "case.1_1": 0.6}
    assert scores.values("Dice", "tail") == {"case.1_1": 0.3}
    assert scores.values("Dice")["case.1_1"] == pytest.approx(0.45)
    assert math.isnan(scores.cases["case.1_0"]["tail"]["Dice"])


def test_markdown_says_units_spread_and_the_paired_difference() -> None:
    first = Scores.of_summary("supervised", summary(0.8, 0.6), LABELS)
    second = Scores.of_summary("mean | teacher", summary(0.9, 0.5), LABELS)
    text = comparison_markdown([first, second], metrics=("Dice", "HD95"))
    lines = text.splitlines()
    assert lines[0] == ("| method | Dice mean | Dice head | Dice tail | HD95 (mm) head | HD95 (mm) tail |")
    assert lines[2].startswith("| supervised | 0.625 ± 0.247 | 0.700 ± 0.141 | 0.300 | 1.00 ± 1.41 |")
    assert lines[3].startswith("| mean \\| teacher |")
    assert paired_differences(first, second) == pytest.approx([0.1, -0.075])
    assert "mean +0.013, higher in 1 of 2 cases" in text


def test_the_terminal_table_has_a_column_per_method() -> None:
    scores = [Scores.of_summary(name, summary(0.8, 0.6), LABELS) for name in ("supervised", "mean teacher")]
    stream = io.StringIO()
    Console(file=stream, width=72).print(comparison_table(scores, title="Synthetic phantoms"))
    text = " ".join(stream.getvalue().split())
    assert "Synthetic phantoms" in text
    assert "mean teacher" in text
    assert "Dice head 0.700 ± 0.141 0.700 ± 0.141" in text
    assert "higher in 0 of 2 cases" in text


def test_a_metric_that_nobody_has_is_a_dash() -> None:
    scores = Scores.of_summary("ours", summary(0.8), {"background": 0, "head": 1, "tail": 2})
    assert "| – | – |" in comparison_markdown([scores], metrics=("NSD",))
