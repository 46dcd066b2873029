"""``semiseg tune`` as a command: what it shows, and how it refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = ["--device", "cpu", "--set", "plan.patch=[16,16,16]", "--set", "plan.features=[4,8]"]


def test_dry_run_shows_the_search_and_writes_nothing(
    cli: Callable, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    flags = [
        "--method",
        "mean_teacher",
        "--space",
        "optimizer.lr",
        "--space",
        "noise=0.2",
        "--dry-run",
        *SMALL,
    ]
    answer = cli("tune", tiny, *flags)
    assert answer.code == 0, answer.err
    for words in (
        "3 labeled cases in 3 folds",
        "weight: 0.01 to 1, log (now 0.1)",
        "optimizer.lr: 0.0002 to 0.02",
    ):
        assert words in answer.out
    assert "fixed at 0.2" in answer.out
    told = cli("tune", tiny, *flags, "--json").json
    assert told["space"]["decay"] == "0.9 to 0.999"
    assert told["not_searched"]["noise"] == "fixed at 0.2"
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_in_the_space_is_answered_with_the_nearest(cli: Callable, tiny: Path) -> None:
    pytest.importorskip("optuna")
    answer = cli("tune", tiny, "--method", "mean_teacher", "--space", "wheight=1:2", "--dry-run", *SMALL)
    assert answer.code == 2
    assert "Did you mean 'weight'?" in answer.err


def test_one_labeled_case_is_refused_with_a_hint(cli: Callable, tiny: Path) -> None:
    pytest.importorskip("optuna")
    answer = cli("tune", tiny, "--method", "mean_teacher", "--labeled", "1", *SMALL)
    assert answer.code == 2
    assert "at least 2 labeled cases" in answer.err
    assert "hint: label one more" in answer.err


def test_without_optuna_it_says_what_to_install(
    cli: Callable, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    answer = cli("tune", tiny, "--method", "mean_teacher", *SMALL)
    assert answer.code == 2
    assert 'pip install "semiseg[hpo]"' in answer.err


def test_a_tiny_tuning_ends_with_a_table_and_a_command(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    flags = ["--method", "supervised", "--folds", "2", "--iterations", "2", "--trials", "2", *SMALL]
    answer = cli("tune", tiny, *flags, "-o", tmp_path / "t")
    assert answer.code == 0, answer.err
    lines = [line.strip() for line in answer.out.splitlines() if line.strip()]
    assert lines[0].split() == ["trial", "Dice", "(mean", "±", "SD", "of", "folds)", "include_background"]
    assert any(line.startswith("0 (start)") for line in lines)
    assert "rests on 3 labeled cases in 2 folds" in answer.out
    assert lines[-1] == f"use it: semiseg train {tiny} -c {tmp_path / 't' / 'best.yaml'}"
