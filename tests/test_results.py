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
    assert made["figures"]().startswith("method,dataset,labeled,")


def test_the_gain_is_that_of_the_seeds_in_common():
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "page.py"))

    def run(method, seed, dice):
        return {"method": method, "labeled": 8, "iterations": 9, "seed": seed, "Dice": dice, "HD95": 2.0}

    runs = [run("supervised", 0, 0.8), run("supervised", 1, 0.6), run("x", 1, 0.7), run("x", 2, 0.9)]
    base, line = made["_lines"]("d", "c", runs)
    assert (line["dice"], line["dice_gain"], line["hd95_gain"], line["seeds"]) == (
        "80.00",
        "+10.00",
        "+0.00",
        2,
    )
    assert (base["dice"], base["dice_gain"], base["dice_sd"]) == ("70.00", "", "14.14")
