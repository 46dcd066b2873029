"""The study of trials: what comes next, what is stopped, what survives a death at any line."""

from __future__ import annotations

from pathlib import Path

import pytest

from semiseg.errors import UsageError
from semiseg.settings.config import Config
from semiseg.tuning.axes import Choice, Range
from semiseg.tuning.search import Search
from semiseg.tuning.study import ATTEMPTS, JOURNAL, Study
from semiseg.tuning.trial import Scored, better

pytest.importorskip("optuna")

AXES = {"weight": Range(1, 100, log=True), "kind": Choice(("a", "b")), "passes": Range(1, 8, whole=True)}
START = {"weight": 10.0, "kind": "a", "passes": 2}


def open_study(folder: Path, *, terms: object = 1, seed: int = 0, start: dict | None = None) -> Study:
    search = Search(Config(), AXES, start or START)
    return Study(folder, search, {"terms": terms}, seed=seed, higher_is_better=True, warm_up=2)


def score(values: dict) -> Scored:
    value = -abs(values.get("weight", 0) - 30) / 10 + (values.get("kind") == "b") / 1000
    return Scored((value, value + 0.01))


def play(study: Study, most: int) -> list[tuple]:
    while (entry := study.next(most)) is not None:
        study.finish(entry.number, score(dict(entry.values)))
    return [(e.values, e.folds) for e in study.entries() if e.state == "done"]


def test_the_start_comes_first_and_then_what_the_sampler_draws(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    told = play(study, 4)
    assert told[0][0] == START
    assert len(told) == 4
    assert all(values[name] in axis for values, _ in told for name, axis in AXES.items())
    assert study.entries()[0].start
    assert not study.entries()[1].start


def test_a_start_outside_of_the_space_is_tried_all_the_same(tmp_path: Path) -> None:
    study = open_study(tmp_path, start={**START, "weight": 0.1})
    first = study.next(3)
    assert first is not None
    assert (first.start, first.values) == (True, {})
    study.finish(first.number, Scored((0.5, 0.5)))
    assert play(study, 3)[1][0].keys() == AXES.keys()


def test_a_journal_read_again_draws_the_same(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    wanted = play(open_study(whole), 14)
    for most in (3, 11, 14):
        got = play(open_study(parts), most)
    assert got == wanted
    assert play(open_study(parts, seed=0), 14) == wanted


def test_a_trial_that_died_is_marked_and_tried_again(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    wanted = play(open_study(tmp_path / "a"), 6)
    study = open_study(tmp_path / "b")
    play(study, 2)
    died = study.next(6)
    assert died is not None
    again = open_study(tmp_path / "b")  # nobody told the study how trial 2 ended
    assert again.entries()[2].state == "died"
    retried = again.next(6)
    assert retried is not None
    assert (retried.values, retried.home, retried.attempt) == (died.values, 2, 1)
    again.finish(retried.number, score(dict(retried.values)))
    assert play(again, 6) == wanted


def test_a_trial_that_dies_every_time_is_given_up(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    for _ in range(ATTEMPTS):
        entry = study.next(1)
        assert entry is not None
        study.die(entry.number, "killed")
    assert study.next(1) is None
    assert [entry.state for entry in study.entries()] == ["died"] * (ATTEMPTS - 1) + ["failed"]
    assert study.entries()[-1].note == "killed"


def test_an_interruption_by_hand_is_no_attempt(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    for _ in range(2 * ATTEMPTS):
        entry = study.next(1)
        assert entry is not None
        study.die(entry.number, "interrupted", counts=False)
    assert study.next(1) is not None


def test_a_command_that_is_killed_time_and_again_fails_no_trial(tmp_path: Path) -> None:
    for _ in range(2 * ATTEMPTS):
        entry = open_study(tmp_path).next(1)
        assert entry is not None
        assert (entry.home, entry.attempt) == (0, 1)
    again = open_study(tmp_path)
    entry = again.next(1)
    assert entry is not None
    again.finish(entry.number, score(dict(entry.values)))
    assert [e.state for e in again.entries()] == ["died"] * (2 * ATTEMPTS) + ["done"]
    assert again.next(1) is None


@pytest.mark.parametrize("torn", [b'{"op_code": 5, "wor', b"\x00\x00"])
def test_a_torn_line_and_a_forgotten_lock_do_no_harm(tmp_path: Path, torn: bytes) -> None:
    wanted = play(open_study(tmp_path), 3)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(torn)
    (tmp_path / f"{JOURNAL}.lock").touch()
    assert play(open_study(tmp_path), 3) == wanted
    assert len(play(open_study(tmp_path), 4)) == 4


def test_a_spoiled_journal_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("no journal\nat all\n")
    with pytest.raises(UsageError, match="not a journal") as error:
        open_study(tmp_path)
    assert "--overwrite" in error.value.hint


def test_other_terms_are_refused_and_named(tmp_path: Path) -> None:
    open_study(tmp_path)
    with pytest.raises(UsageError, match="terms: 1 before, 2 now"):
        open_study(tmp_path, terms=2)


def test_a_trial_below_the_median_is_stopped(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    for _ in range(4):
        entry = study.next(9)
        assert entry is not None
        assert not study.report(entry.number, 1, 0.5)
        assert not study.report(entry.number, 3, 0.7)
        study.finish(entry.number, Scored((0.7, 0.7)))
    entry = study.next(9)
    assert entry is not None
    assert not study.report(entry.number, 1, 0.1)  # too early to tell
    assert study.report(entry.number, 3, 0.2)
    study.prune(entry.number)
    assert study.entry(entry.number).state == "pruned"
    assert entry.number not in [e.number for e in better(study.entries(), higher_is_better=True)]


def test_the_same_values_are_not_trained_twice(tmp_path: Path) -> None:
    search = Search(Config(), {"kind": Choice(("a", "b"))}, {"kind": "a"})
    study = Study(tmp_path, search, {}, seed=0, higher_is_better=True, warm_up=2)
    trained = 0
    while (entry := study.next(8)) is not None:
        trained += 1
        study.finish(entry.number, score(dict(entry.values)))
    assert trained == 2
    assert len(study.entries()) == 8
    assert len(better(study.entries(), higher_is_better=True)) == 2


def test_importance_finds_what_matters(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    play(study, 9)
    assert study.importance() == {}
    play(study, 25)
    found = study.importance()
    assert sum(found.values()) == pytest.approx(1)
    assert next(iter(found)) == "weight"
