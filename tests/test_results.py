"""The pages of results, and the tables and plots of the READMEs, show what the benchmarks wrote."""

from __future__ import annotations

import re
import runpy
import sys
from typing import Any

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """What `python benchmarks/page.py` defines."""
    folder = str(REPOSITORY / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return runpy.run_path(str(REPOSITORY / "benchmarks" / "page.py"))
    finally:
        sys.path.remove(folder)


def test_the_pages_are_what_the_benchmarks_wrote(made):
    files = made["files"]()
    stale = [path.name for path, text in files.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `python benchmarks/page.py`"
    assert set(made["PAGES"].glob("*.md")) <= set(files)
    assert "| method |" in files[made["PAGES"] / "hippocampus.md"]


def test_the_pages_have_their_plots(made):
    for plot in made["plots"]():
        assert (made["PAGES"] / plot.name).read_bytes() == plot.read_bytes()
        assert any(f"({plot.name})" in text for text in made["files"]().values())
    for name, drawing in made["gain_plots"].drawings().items():
        assert (made["DOCS"] / "assets" / name).read_text(encoding="utf-8") == drawing


def test_the_table_and_the_figure_of_the_readme_have_the_numbers_of_the_full_table(made):
    table = (REPOSITORY / "benchmarks" / "results" / "hippocampus.md").read_text(encoding="utf-8")
    means = [re.search(rf"^\| {name}.*?\| (0\.\d+)", table, re.MULTILINE) for name in NAMED]
    shown = [found[1] for found in means if found]
    assert len(shown) == len(NAMED)
    (row,) = [line for line in made["gains"].expectation().splitlines() if line.startswith("| Hippocampus")]
    assert [cell.strip() for cell in row.split("|")[3:6]] == shown
    first, *_ = made["gains"].boards()
    if first[0].table == "hippocampus":
        assert all(f">{number}<" in made["gain_plots"].drawings()["gap.svg"] for number in shown)


NAMED = (r"supervised \(baseline\)", "fixmatch", "supervised, all labels")
"""Rows of the full table, in the order of the README's columns."""


def test_the_package_has_the_figures_that_the_benchmarks_measured(made):
    assert made["FIGURES"].read_text(encoding="utf-8") == made["figures"]()
    assert made["figures"]().startswith("method,table,dataset,labeled,iterations,batch,seeds,")


def test_the_gain_is_over_the_baseline_and_variants_are_left_out(made):
    def arm(name, method, labeled=8, bound=None):
        runs = [{"iterations": 9}, {"iterations": 9}]
        return {"name": name, "method": method, "labeled": labeled, "bound": bound, "runs": runs}

    def summaries(name, dice):
        parts = (("Dice", None, dice), ("Dice", "1", 0.0), ("HD95", None, 2.0))
        return [{"arm": name, "metric": m, "label": k, "mean": v, "sd": 0.01} for m, k, v in parts]

    upper = arm("supervised, all labels", "supervised", 99, "upper")
    board = {
        "dataset": "Dataset101_LeftAtrium",
        "baseline": "supervised",
        "arms": [
            arm("supervised", "supervised", bound="lower"),
            arm("supervised_half", "supervised", bound="lower"),
            arm("x", "x"),
            arm("x weak", "x"),
            upper,
        ],
        "summaries": [
            s for n, d in (("supervised", 0.7), ("x", 0.8), ("x weak", 0.9)) for s in summaries(n, d)
        ]
        + summaries(upper["name"], 0.95),
    }
    base, line, all_labels = made["_lines"]("c", board)
    assert (line["dice"], line["dice_gain"], line["hd95_gain"], line["seeds"]) == (
        "80.00",
        "+10.00",
        "+0.00",
        2,
    )
    assert line["dataset"] == "left_atrium"
    assert (base["dice"], base["dice_gain"], base["dice_sd"]) == ("70.00", "", "1.00")
    assert (all_labels["method"], all_labels["labeled"], all_labels["dice_gain"]) == ("supervised", 99, "")
