"""The files of a comparison hold what was computed, and agree with one another."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from tests.comparison.runs import NAN, make_run, spread

from semiseg.comparison.compare import compare
from semiseg.comparison.report import tables
from semiseg.comparison.report.write import FILES, as_dict, as_markdown, write
from semiseg.comparison.result import Comparison
from semiseg.drawing.table import csv_text, markdown
from semiseg.errors import UsageError

BASE = [0.70, 0.75, 0.80, 0.82, 0.85, 0.88, 0.90]
BETTER = [value + 0.03 + 0.001 * i for i, value in enumerate(BASE)]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        make_run(folder / f"a{seed}", spread(BASE, classes=2), seed=seed)
        make_run(folder / f"b{seed}", spread(BETTER, classes=2), method="mean_teacher", seed=seed)
    make_run(folder / "upper", spread([0.95] * 7, classes=2), labeled=None)
    make_run(folder / "none", None, method="ua_mt", seed=1)
    return compare([folder])


def test_all_files_are_written(comparison: Comparison, tmp_path: Path) -> None:
    written = write(comparison, tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix() for path in written} >= set(FILES)
    assert written[-1].name == "report.html"
    assert all(path.stat().st_size for path in written)
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["boards"][0]["against_baseline"][0]["a"] == "mean_teacher"
    assert content["boards"][0]["arms"][0]["runs"][0]["commit"] == "0123456789abcdef"
    rows = list(csv.DictReader((tmp_path / "out" / "per_case.csv").open()))
    assert len(rows) == 5 * 7 * 2
    assert rows[0]["Dice"] == "0.7"


def test_the_csv_has_the_numbers_of_the_summaries(comparison: Comparison) -> None:
    (group,) = comparison.groups
    rows = {
        row["method"]: row
        for row in csv.DictReader(csv_text([tables.scores(comparison, group)]).splitlines())
    }
    summary, test = group.summary("mean_teacher", "Dice"), group.test("mean_teacher")
    row = rows["mean_teacher"]
    assert float(row["Dice_mean"]) == summary.mean
    assert (float(row["Dice_low"]), float(row["Dice_high"])) == (summary.interval.low, summary.interval.high)
    assert (float(row["p"]), float(row["p_holm"]), float(row["win_rate"])) == (test.p, test.p_holm, 1.0)
    assert float(row["difference_low"]) == test.interval.low
    assert rows["supervised"]["p"] == ""
    assert rows["supervised, all labels"]["bound"] == "upper"


def test_the_best_is_bold_the_significant_marked_and_the_upper_bound_apart(comparison: Comparison) -> None:
    (group,) = comparison.groups
    table = tables.scores(comparison, group)
    cells = {row[0].text: row for row in table.rows}
    assert list(cells) == ["supervised (baseline)", "mean_teacher", "supervised, all labels"]
    dice = {
        name: row[[column.title for column in table.columns].index("Dice")] for name, row in cells.items()
    }
    assert [name for name, cell in dice.items() if cell.best] == ["mean_teacher"]
    assert [name for name, cell in dice.items() if cell.mark] == ["mean_teacher"]
    assert dice["mean_teacher"].text == f"{group.summary('mean_teacher', 'Dice').mean:.3f} ± 0.000"
    assert table.rules == {0, 1}


def test_classes_and_pairs_have_all_rows(comparison: Comparison) -> None:
    (group,) = comparison.groups
    by_class = tables.classes(comparison, group)
    assert [row[0].text for row in by_class.rows] == ["structure 1", "", "", "structure 2", "", ""]
    pairs = tables.pairs(comparison, group)
    assert len(pairs.rows) == 1  # the only pair is that with the baseline: it is not told twice
    assert "| mean\\_teacher | supervised | 7 |" in markdown(pairs)


def test_costs_and_missing_runs_are_shown(comparison: Comparison) -> None:
    (group,) = comparison.groups
    costs = tables.costs(group)
    assert tuple(column.title for column in costs.columns) == (
        "method",
        "step (s)",
        "minutes",
        "peak memory (GB)",
        "parameters (M)",
    )
    assert [cell.text for cell in costs.rows[0]] == ["supervised (baseline)", "0.375", "1.5", "1.50", "1.00"]
    text = as_markdown(comparison)
    assert "## Missing" in text
    assert "| ua\\_mt | 0 | 1 | training is not finished (iteration 20) | semiseg train" in text
    assert "- method.options.student_view: not set (supervised" in text


def test_what_has_no_number_is_a_dash_and_never_nan(tmp_path: Path) -> None:
    make_run(tmp_path / "a", {"c0": [NAN]})
    make_run(tmp_path / "b", {"c0": [NAN]}, method="mean_teacher")
    found = compare([tmp_path])
    (group,) = found.groups
    assert math.isnan(group.summary("supervised", "Dice").mean)
    text = as_markdown(found)
    assert "nan" not in text.lower()
    assert "NaN" not in json.dumps(found.as_dict())
    assert "| supervised (baseline) | 1 | – (0) | – |" in text


def test_a_folder_that_cannot_be_written_is_told(comparison: Comparison, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot write into") as caught:
        write(comparison, tmp_path / "file")
    assert caught.value.code == "NOT_WRITABLE"


def test_the_former_name_of_the_groups_is_kept_with_a_warning(comparison: Comparison) -> None:
    with pytest.warns(DeprecationWarning, match="comparison.groups"):
        assert comparison.boards is comparison.groups
    assert next(iter(as_dict(comparison))) == "boards"
