from __future__ import annotations

import numpy as np
import pytest

from semiseg.comparison.statistics import pair

NAN, INF = np.nan, np.inf


def test_undefined_cases_are_excluded_and_counted() -> None:
    found = pair(np.array([0.9, NAN, 0.7, NAN]), np.array([0.8, 0.5, NAN, NAN]))
    assert (found.n, found.excluded) == (1, 3)
    assert found.differences == pytest.approx([0.1])
    assert found.used.tolist() == [True, False, False, False]


def test_wins_follow_the_direction_of_the_metric() -> None:
    found = pair(np.array([0.9, 0.5, 0.7]), np.array([0.8, 0.6, 0.7]))
    assert found.counts(higher_is_better=True) == (1, 1, 1)
    more = pair(np.array([5.0, 4.0, 1.0]), np.array([3.0, 3.0, 2.0]))
    assert more.counts(higher_is_better=True) == (2, 0, 1)
    assert more.counts(higher_is_better=False) == (1, 0, 2)


def test_float_noise_is_a_tie() -> None:
    assert pair(np.array([0.1 + 0.2]), np.array([0.3])).counts(higher_is_better=True) == (0, 1, 0)


def test_two_infinite_distances_are_no_difference() -> None:
    found = pair(np.array([INF, INF, 2.0]), np.array([INF, 3.0, 1.0]))
    assert found.differences.tolist() == [0.0, INF, 1.0]
    assert found.counts(higher_is_better=False) == (0, 1, 2)
