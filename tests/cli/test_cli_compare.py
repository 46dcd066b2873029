"""``compare`` on the command line: text, JSON, files, exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.comparison.runs import make_run, spread

BASE = [0.70, 0.75, 0.80, 0.82, 0.85, 0.88, 0.90]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    make_run(folder / "a", spread(BASE, classes=2))
    make_run(folder / "b", spread([v + 0.02 for v in BASE], classes=2), method="mean_teacher")
    return folder


def test_it_prints_a_table_and_writes_nothing(cli: Callable, runs: Path) -> None:
    before = sorted(runs.rglob("*"))
    answer = cli("compare", runs)
    assert answer.code == 0, answer.err
    assert "Dataset001_Tiny, 2 labeled, 7 test cases" in answer.out
    assert "supervised (baseline)" in answer.out
    assert "0.834†" in answer.out
    assert "note: one run of mean_teacher, supervised" in answer.out
    assert "structure 2" not in answer.out
    assert sorted(runs.rglob("*")) == before


def test_classes_are_shown_when_asked_for(cli: Callable, runs: Path) -> None:
    assert "structure 2" in cli("compare", runs, "--per-class").out


def test_json(cli: Callable, runs: Path) -> None:
    answer = cli(
        "compare", runs / "a", runs / "b", "--metric", "NSD", "--alpha", "0.1", "--seed", 3, "--json"
    )
    assert answer.code == 0
    found = answer.json
    assert (found["ok"], found["metric"], found["alpha"], found["seed"]) == (True, "NSD", 0.1, 3)
    (group,) = found["boards"]
    assert group["against_baseline"][0]["wins"] == 7
    assert found["files"] == []


def test_output_is_written_and_not_overwritten(cli: Callable, runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "table.md").write_text("of yesterday")
    refused = cli("compare", runs, "-o", folder)
    assert (refused.code, "already exists" in refused.err, refused.out) == (2, True, "")
    answer = cli("compare", runs, "-o", folder, "--overwrite")
    assert answer.code == 0, answer.err
    assert f"to look at first: {folder / 'report.html'}" in answer.out
    assert (folder / "table.md").read_text().startswith("# Comparison")


def test_missing_runs_are_exit_5_and_the_rest_is_compared(cli: Callable, runs: Path) -> None:
    make_run(runs / "c", None, method="ua_mt", told={"sessions": []})
    answer = cli("compare", runs)
    assert answer.code == 5
    assert "mean_teacher" in answer.out
    assert "training is not finished" in answer.out
    assert "missing from the comparison: 1; ua_mt, 2 labeled" in answer.err
    told = cli("compare", runs, "--json")
    assert (told.code, told.json["ok"], told.json["code"]) == (5, False, "RUNS_MISSING")
    assert told.json["details"]["boards"][0]["missing"][0]["name"] == "ua_mt"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "does not exist"),
        (["runs", "--metric", "F1"], "unknown metric 'F1'"),
        (["runs", "--baseline", "supervized"], "Did you mean 'supervised'?"),
        (["runs", "--alpha", "0"], "alpha is 0"),
    ],
)
def test_mistakes_are_exit_2(
    cli: Callable, runs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list, words: str
) -> None:
    monkeypatch.chdir(runs.parent)
    answer = cli("compare", *arguments)
    assert (answer.code, words in answer.err) == (2, True), answer.err


def test_runs_are_looked_up_where_runs_are_kept(
    cli: Callable, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMISEG_RUNS", str(runs))
    assert cli("compare", "a", "b").code == 0
