"""The paragraph in plain words says what the tests say, and no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.compared import dices, scored_run, trio

from semiseg.comparison.compare import compare
from semiseg.comparison.result import Comparison
from semiseg.comparison.result.format import reading_of


def words(comparison: Comparison) -> str:
    return " ".join(reading_of(comparison, comparison.groups[0])).replace("\u00a0", " ")


def test_who_wins_by_how_much_and_who_is_not_told_apart(tmp_path: Path) -> None:
    found = compare([*trio(tmp_path), scored_run(tmp_path, "supervised", dices(0.78), labeled=None)])
    text = words(found)
    test = found.groups[0].test("mean_teacher")
    assert test is not None
    assert text.startswith("On 8 test cases, 1 of 2 methods beat supervised in Dice after Holm's correction")
    assert "(α = 0.05): mean_teacher." in text
    assert "No difference was shown for ua_mt, which is not evidence that there is none." in text
    assert f"Its gain is +{test.difference:.3f} (95 % interval" in text
    assert f"better in {test.wins} cases of 8" in text
    assert "% of the way from supervised with 8 labels to supervised training with all 20." in text
    assert "One seed" not in text


def test_one_seed_is_said_to_be_one(tmp_path: Path) -> None:
    text = words(compare(trio(tmp_path, seeds=1)))
    assert "One seed only: the spread between seeds is unknown" in text


@pytest.mark.parametrize(
    ("means", "metric", "said", "unsaid"),
    [
        (
            {"supervised": 0.8, "tcsm": 0.6},
            "Dice",
            ("tcsm does not beat supervised", "1 did worse: tcsm."),
            "gain",
        ),
        (
            {"supervised": 0.6, "ict": 0.8},
            "HD95",
            ("ict beats supervised in HD95", "Its gain is −2.00 mm"),
            "did worse",
        ),
        (
            {"supervised": 0.7, "mean_teacher": 0.7},
            "Dice",
            ("could not be tested: mean_teacher", "equal in every case"),
            "gain",
        ),
        (
            {"ict": 0.6, "upc": 0.8},
            "Dice",
            ("There is no baseline, so that nothing was tested against one.",),
            "beat",
        ),
    ],
    ids=["worse", "a distance: less is better", "equal", "no baseline"],
)
def test_what_is_claimed_is_what_was_tested(
    tmp_path: Path, means: dict[str, float], metric: str, said: tuple[str, ...], unsaid: str
) -> None:
    text = words(compare([scored_run(tmp_path, n, dices(mean)) for n, mean in means.items()], metric=metric))
    assert all(part in text for part in said), text
    assert unsaid not in text


def test_with_too_few_cases_what_was_seen_is_told(tmp_path: Path) -> None:
    four = [f"c{n}" for n in range(4)]
    runs = [
        scored_run(tmp_path, name, dices(mean, cases=4), cases=four)
        for name, mean in (("supervised", 0.8), ("tcsm", 0.61))
    ]
    text = words(compare(runs))
    assert "too few cases for a test to show anything at this level: tcsm −0.1" in text
    assert "better in 0 of 4" in text
    assert "No difference was shown" not in text


@pytest.mark.parametrize("held", [8, 6])
def test_patients_are_counted_where_they_are_what_is_tested(tmp_path: Path, held: int) -> None:
    runs = [scored_run(tmp_path, name, dices(mean)) for name, mean in (("supervised", 0.6), ("ict", 0.8))]
    found = compare(runs)
    group = found.groups[0]
    tests = tuple(replace(test, n=held, wins=held) for test in group.against_baseline)
    group = replace(group, against_baseline=tests, ranking=replace(group.ranking, n=held))
    text = words(replace(found, groups=(group,)))
    assert f"better in {held} {'cases' if held == 8 else 'patients'} of {held}" in text
    assert np.isfinite(group.ranking.n)
