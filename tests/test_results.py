"""The page of results shows what the benchmarks wrote, and nothing else."""

from __future__ import annotations

import runpy

from tests.conftest import REPOSITORY


def test_the_page_is_what_the_benchmarks_wrote():
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "page.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"]()
    assert "| method |" in made["page"]()


def test_the_page_has_its_plots():
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "page.py"))
    for plot in made["plots"]():
        assert (made["PAGE"].parent / plot.name).read_bytes() == plot.read_bytes()
        assert f"({plot.name})" in made["page"]()


def test_the_package_has_the_figures_that_the_benchmarks_measured():
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "page.py"))
    assert made["FIGURES"].read_text(encoding="utf-8") == made["figures"]()
    assert made["figures"]().startswith("method,table,dataset,labeled,iterations,batch,seeds,")


def test_the_gain_is_over_the_baseline_and_variants_are_left_out():
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "page.py"))

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
