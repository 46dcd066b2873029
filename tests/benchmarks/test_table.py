"""Our own tables: made again of what is kept of their runs, when the run folders are gone."""

from __future__ import annotations

import importlib
import shutil
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.comparison.runs import make_run, spread
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results"
NAME = "hippocampus"
DICE = (0.71, 0.82, 0.63, 0.74)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    return importlib.import_module("table")


def run(root: Path, method: str, seed: int, more: float = 0.0, *, arm: str = "", **settings: Any) -> Path:
    scores = spread([value + more for value in DICE], classes=2)
    place = root / "Dataset001_Tiny" / (arm or method) / f"seed-{seed}"
    told = {"command": f"worker {root}"}
    return make_run(place, scores, method=method, seed=seed, told=told, settings=settings)


def test_a_table_outlives_its_runs_and_further_ones_join(tmp_path: Path, table: ModuleType):
    first = tmp_path / "first"
    for method, more in (("supervised", 0.0), ("mean_teacher", 0.05)):
        run(first, method, 0, more)
    before = table.content(table.compared(NAME, [str(first)], tmp_path), NAME)
    shutil.rmtree(first)
    assert table.content(table.compared(NAME, (), tmp_path), NAME) == before
    run(tmp_path / "second", "supervised", 1, 0.02)
    comparison = table.compared(NAME, [str(tmp_path / "second")], tmp_path)
    (group,) = comparison.groups
    assert group.summary("supervised", "Dice").mean == pytest.approx(sum(DICE) / 4 + 0.01)
    assert [run.folder.name for run in group.arm("supervised").runs] == ["seed-0", "seed-1"]
    text = table.text(comparison, table.content(comparison, NAME), NAME)
    assert "| mean\\_teacher | 1 |" in text
    (absent,) = (line for line in text.splitlines() if line.startswith("- not run yet: "))
    for cells in (
        "supervised_same_minutes (seeds 0, 1, 2)",
        "mean_teacher (seeds 1, 2)",
        "unimatch (seeds 0, 1, 2)",
    ):
        assert f" {cells}," in absent
    assert absent.endswith(" supervised, all labels (seeds 0, 1, 2)")
    assert "Not run yet: 8 labeled, 16 labeled." in text  # these have 2


def test_a_variant_keeps_the_name_that_its_sweep_gave_it(tmp_path: Path, table: ModuleType):
    runs = tmp_path / "runs"
    run(runs, "supervised", 0)
    run(runs, "supervised", 0, arm="supervised_half__unet__default", **{"batch.labeled": 1})
    (group,) = table.compared(NAME, [str(runs)], tmp_path).groups
    assert [arm.name for arm in group.arms] == ["supervised", "supervised_half"]
    assert group.baseline == "supervised"
    (other,) = table.compared(NAME, (), tmp_path, baseline="supervised_half").groups
    assert [test.a for test in other.against_baseline] == ["supervised"]


def test_a_run_that_is_given_again_replaces_what_was_kept(tmp_path: Path, table: ModuleType):
    for place, more in (("old", 0.0), ("new", 0.1)):
        run(tmp_path / place, "supervised", 0, more)
        comparison = table.compared(NAME, [str(tmp_path / place)], tmp_path)
    assert comparison.groups[0].summary("supervised", "Dice").mean == pytest.approx(sum(DICE) / 4 + 0.1)
    assert len(comparison.groups[0].arm("supervised").runs) == 1


def test_what_is_kept_names_no_folder_and_depends_on_content_alone(tmp_path: Path, table: ModuleType):
    for place in ("one", "other"):
        run(tmp_path / place, "supervised", 0)
        table.compared(NAME, [str(tmp_path / place)], tmp_path / f"{place} results")
    paths = [tmp_path / f"{place} results" / "runs" / f"{NAME}.zip" for place in ("one", "other")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as archive:
        assert not any(str(tmp_path).encode() in archive.read(name) for name in archive.namelist())


@pytest.mark.parametrize("path", sorted((RESULTS / "runs").glob("*.zip")), ids=lambda path: path.stem)
def test_the_tables_are_what_their_kept_runs_say(path: Path, table: ModuleType):
    comparison = table.compared(path.stem)
    kept = table.content(comparison, path.stem)
    assert (RESULTS / f"{path.stem}.md").read_text(encoding="utf-8") == table.text(
        comparison, kept, path.stem
    )
