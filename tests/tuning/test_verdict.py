"""The best of many trials is believed only when its lead is more than luck."""

from __future__ import annotations

import random

import pytest

from semiseg.tuning.trial import TrialRecord
from semiseg.tuning.verdict import expected_best, judge, standard_error


def entry(number: int, *folds: float, **more: object) -> TrialRecord:
    score = sum(folds) / len(folds)
    return TrialRecord(number, "done", {"weight": number}, score, folds, start=number == 0, **more)


def test_a_lead_in_every_fold_is_believed() -> None:
    verdict = judge([entry(0, 0.7, 0.6, 0.8), entry(1, 0.75, 0.66, 0.85)], "Dice", higher_is_better=True)
    assert verdict.chosen is not None
    assert verdict.chosen.number == 1
    assert verdict.gain == pytest.approx(0.16 / 3)


def test_a_lead_within_the_noise_keeps_the_start_unless_forced() -> None:
    entries = [entry(0, 0.7, 0.6, 0.8), entry(1, 0.9, 0.55, 0.72)]
    verdict = judge(entries, "Dice", higher_is_better=True)
    assert verdict.chosen is None
    assert "within noise" in verdict.reason
    forced = judge(entries, "Dice", higher_is_better=True, force=True)
    assert forced.chosen == entries[1]


def test_the_same_lead_counts_less_among_many_trials() -> None:
    start, best = entry(0, 0.70, 0.60, 0.80, 0.70), entry(1, 0.74, 0.61, 0.82, 0.73)
    assert judge([start, best], "Dice", higher_is_better=True).chosen == best
    many = [entry(number, 0.7, 0.6, 0.8, 0.7) for number in range(2, 40)]
    assert judge([start, best, *many], "Dice", higher_is_better=True).chosen is None


def test_of_equal_settings_the_start_is_nearly_always_kept() -> None:
    chance = random.Random(0)
    believed = 0
    for _ in range(200):
        trials = [entry(n, *(chance.gauss(0.8, 0.02) for _ in range(4))) for n in range(20)]
        believed += judge(trials, "Dice", higher_is_better=True).chosen is not None
    assert believed < 25  # 12; without the three corrections it is nearly 200


def test_distances_are_better_when_low() -> None:
    entries = [entry(0, 5.0, 6.0, 7.0), entry(1, 3.0, 4.1, 5.0)]
    assert judge(entries, "HD95", higher_is_better=False).chosen == entries[1]
    assert judge(entries, "HD95", higher_is_better=True).chosen is None


def test_a_trial_that_deviates_is_not_chosen_unless_allowed() -> None:
    entries = [entry(0, 0.5, 0.5), entry(1, 0.9, 0.9, deviations=("cheats",))]
    assert judge(entries, "Dice", higher_is_better=True).best is None
    allowed = judge(entries, "Dice", higher_is_better=True, deviations=frozenset({"cheats"}))
    assert allowed.chosen == entries[1]


def test_the_start_alone_is_kept() -> None:
    assert "no other trial" in judge([entry(0, 0.5, 0.5)], "Dice", higher_is_better=True).reason
    assert "start was not scored" in judge([], "Dice", higher_is_better=True).reason


def test_figures_by_hand() -> None:
    # SD of 1, 2, 3 is 1; 1/3 + 1/2 = 5/6. The largest of one draw is the middle: at least one error is asked.
    assert standard_error([1.0, 2.0, 3.0]) == pytest.approx((5 / 6) ** 0.5)
    assert expected_best(1, 4) == 1.0
    assert expected_best(30, 4) > expected_best(30, 8) > expected_best(10, 8) > 1
