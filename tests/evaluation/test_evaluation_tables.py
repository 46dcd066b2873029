"""Means, counts and files of an evaluation, awkward ones included."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from semiseg.errors import UsageError
from semiseg.evaluation import conventions, evaluate_pairs
from semiseg.images.grid import Grid

GRID = Grid((6, 6, 6), np.diag([1.0, 1.0, 2.0, 1.0]))
LABELS = {"background": 0, "big": 1, "small": 2, "never": 3}


def volume(big: int, small: int) -> np.ndarray:
    array = np.zeros(GRID.shape, np.uint8)
    array[:big, :, :3] = 1
    array[:small, :, 3:] = 2
    return array


def cases():
    yield "a", volume(3, 2), volume(3, 2), GRID
    yield "b", volume(2, 0), volume(4, 0), GRID
    yield "c", volume(1, 0), volume(1, 3), GRID


def shown(table) -> str:
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


@pytest.fixture
def evaluation():
    return evaluate_pairs(cases(), LABELS)


def test_means_leave_undefined_values_out_and_count_them(evaluation):
    big, small = (evaluation.stats("Dice", name) for name in ("big", "small"))
    assert big[0] == pytest.approx((1 + 4 / 6 + 1) / 3)
    assert big.sd == pytest.approx(np.std([1, 4 / 6, 1], ddof=1))
    assert (small.mean, small.counted) == (0.5, 2)
    assert evaluation.empties("small") == {
        "both_empty": 1,
        "empty_prediction": 1,
        "empty_reference": 0,
        "neither_empty": 1,
    }
    assert evaluation.mean() == pytest.approx((big.mean + 0.5) / 2)  # "never" has no mean to give
    assert math.isnan(evaluation.class_means("Dice")["never"])


def test_a_class_that_no_case_defines_follows_the_convention(evaluation):
    assert math.isnan(evaluation.class_means("Dice")["never"])
    assert evaluation.summary["foreground_mean"]["Dice"] == pytest.approx(evaluation.mean())
    theirs = evaluate_pairs(cases(), LABELS, convention="nnunet")
    assert math.isnan(theirs.mean())
    assert theirs.summary["foreground_mean"]["Dice"] is None
    assert theirs.summary["mean"]["1"]["Dice"] == pytest.approx(evaluation.stats("Dice", "big").mean)


@pytest.mark.parametrize("ignore", [None, 2])
def test_dataset_level_iou_divides_sums_over_all_cases(ignore):
    found = evaluate_pairs(cases(), LABELS, ignore=ignore)
    both = [np.stack(maps) for maps in zip(*((p, r) for _, p, r, _ in cases()), strict=True)]
    known = both[1] != (-1 if ignore is None else ignore)
    guess, truth = (maps[known] for maps in both)
    wanted = {}
    for name, value in {"background": 0, **found.labels}.items():
        # without the ignored class a prediction of it is background
        ours = guess == value if value else ~np.isin(guess, list(found.labels.values()))
        union = (ours | (truth == value)).sum()
        wanted[name] = (ours & (truth == value)).sum() / union if union else math.nan
    assert found.dataset_iou(background=True) == pytest.approx(wanted, nan_ok=True)
    level = found.summary["dataset_level"]
    named = [wanted[name] for name in found.labels]
    assert level["mIoU"] == pytest.approx(np.nanmean(named))
    assert level["mIoU_with_background"] == pytest.approx(np.nanmean([wanted["background"], *named]))
    assert found.dataset_iou() == pytest.approx({n: wanted[n] for n in found.labels}, nan_ok=True)


def test_summary_has_the_nnunet_skeleton(evaluation):
    summary = evaluation.summary
    assert list(summary)[:3] == ["foreground_mean", "mean", "metric_per_case"]
    assert set(summary["mean"]) == {"1", "2", "3"}
    assert summary["foreground_mean"]["Dice"] == pytest.approx(evaluation.mean("Dice"))
    row = summary["metric_per_case"][1]
    assert {"reference_file", "prediction_file", "metrics"} <= set(row)
    assert {"Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref"} <= set(row["metrics"]["1"])
    assert row["metrics"]["1"]["IoU"] == row["metrics"]["1"]["Jaccard"] == 0.5
    assert row["metrics"]["2"]["Dice"] is None
    assert (summary["convention"], summary["unit"]) == ("semiseg", "mm")
    assert summary["empties"]["2"]["empty_prediction"] == 1
    assert summary["counted"]["2"]["Dice"] == 2


def test_saved_files_are_valid_and_whole(evaluation, tmp_path):
    first, second = evaluation.save(tmp_path / "new" / "folder")

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    assert json.loads(first.read_text(), parse_constant=refuse) == evaluation.summary
    rows = list(csv.DictReader(second.open()))
    assert [(r["case"], r["class"]) for r in rows[:4]] == [
        ("a", "big"),
        ("a", "small"),
        ("a", "never"),
        ("b", "big"),
    ]
    assert len(rows) == 9
    assert (rows[2]["Dice"], rows[3]["n_ref"]) == ("", "72")
    assert float(rows[3]["Jaccard"]) == 0.5
    assert sorted(p.name for p in first.parent.iterdir()) == ["metrics.csv", "summary.json"]


def test_saving_keeps_the_old_file_when_it_fails(evaluation, tmp_path, monkeypatch):
    first, _ = evaluation.save(tmp_path)
    before = first.read_text()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(UsageError, match="disk full"):
        evaluate_pairs([], LABELS).save(tmp_path)
    assert first.read_text() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_table_shows_means_spread_and_counts(evaluation):
    text = shown(evaluation.table())
    for part in ("big", "0.889", "± 0.192", "0.500", "(2)", "never", "HD95", "3 cases"):
        assert part in text


@pytest.mark.parametrize("convention", conventions.CONVENTIONS)
@pytest.mark.parametrize("distances", [True, False])
def test_no_combination_breaks_the_table_or_the_files(convention, distances, tmp_path):
    found = evaluate_pairs(cases(), LABELS, convention=convention, distances=distances)
    assert "never" in shown(found.table())
    assert json.loads(found.save(tmp_path)[0].read_text())["cases"] == 3


def test_nothing_at_all(tmp_path):
    for labels in (LABELS, {"background": 0}):
        found = evaluate_pairs([], labels)
        assert math.isnan(found.mean("HD95"))
        assert "0 cases" in shown(found.table())
        assert json.loads(found.save(tmp_path)[0].read_text())["metric_per_case"] == []


def test_one_bad_pair_does_not_stop_the_others():
    bad = [("bad", volume(1, 1)[1:], volume(1, 1), GRID), *cases()]
    found = evaluate_pairs(bad, LABELS)
    assert list(found.failed) == ["bad"]
    assert "shape" in found.failed["bad"]
    assert len(found.cases) == 3
    assert found.problem().exit_code == 5
    assert evaluate_pairs(cases(), LABELS).problem() is None


def test_pairs_are_read_one_at_a_time():
    alive = []

    def one_by_one():
        for case, *rest in cases():
            alive.append(case)
            yield case, *rest

    found = evaluate_pairs(one_by_one(), LABELS)
    assert alive == [c.case for c in found.cases] == ["a", "b", "c"]


def test_unknown_names():
    found = evaluate_pairs(cases(), LABELS)
    with pytest.raises(UsageError, match="Did you mean 'HD95'"):
        found.mean("HD59")
    with pytest.raises(UsageError, match="unknown class"):
        found.stats("Dice", "bigg")
    with pytest.raises(UsageError, match="unknown metric convention"):
        evaluate_pairs([], LABELS, convention="x")
