"""The page of results shows what the benchmarks wrote, and nothing else."""

from __future__ import annotations

import runpy

from tests.conftest import REPOSITORY


def test_the_page_is_what_the_benchmarks_wrote():
    made = runpy.run_path(str(REPOSITORY / "benchmarks" / "page.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"]()
    assert "| method |" in made["page"]()
