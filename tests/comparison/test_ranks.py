"""Friedman's test and Nemenyi's critical difference against SciPy and the figures of Demsar's paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.comparison.example import AUC

from semiseg.comparison.statistics import cliques, critical_difference, friedman

Q = {
    0.05: (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164),
    0.10: (1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920),
}
"""Demsar 2006, table 5(a): the values of q for 2 to 10 methods."""


@pytest.mark.parametrize("alpha", Q)
@pytest.mark.parametrize("k", range(2, 11))
def test_the_critical_difference_has_demsars_q(alpha: float, k: int) -> None:
    n = 30
    q = critical_difference(k, n, alpha) / math.sqrt(k * (k + 1) / (6 * n))
    assert q == pytest.approx(Q[alpha][k - 2], abs=1.1e-3)  # the table rounds


def test_the_example_of_demsar() -> None:
    """Mean ranks 3.143, 2.000, 2.893, 1.964; chi-squared 9.28 (not corrected for ties); CD 1.25 and 1.12."""
    found = friedman(AUC)
    assert found.mean_ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    uncorrected = 12 * 14 / 20 * ((found.mean_ranks**2).sum() - 4 * 25 / 4)
    assert uncorrected == pytest.approx(9.28, abs=5e-3)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)
    assert critical_difference(4, 14, 0.10) == pytest.approx(1.12, abs=5e-3)
    best_first = np.sort(found.mean_ranks)
    assert cliques(list(best_first), critical_difference(4, 14)) == [(0, 3)]


def test_friedman_is_scipys_with_ties() -> None:
    scores = np.random.default_rng(0).integers(0, 4, (25, 5)) / 10
    theirs = stats.friedmanchisquare(*scores.T)
    found = friedman(scores)
    assert (found.statistic, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_the_highest_score_has_rank_one_and_ties_share() -> None:
    found = friedman(np.array([[0.9, 0.9, 0.5], [0.8, 0.7, 0.9]]))
    assert found.mean_ranks == pytest.approx([(1.5 + 2) / 2, (1.5 + 3) / 2, (3 + 1) / 2])


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        (np.zeros((0, 3)), "no case that all define"),
        (np.ones((9, 2)), "2 to rank; the test needs 3"),
        (np.array([[0.1, 0.2, 0.3]]), "a single case"),
        (np.full((6, 4), 0.5), "all are equal in every case"),
    ],
)
def test_what_cannot_be_tested_has_no_p(scores: np.ndarray, why: str) -> None:
    found = friedman(scores)
    assert math.isnan(found.p)
    assert found.why_not == why


def test_cliques_are_maximal_and_may_overlap() -> None:
    assert cliques([1.0, 1.5, 2.2, 4.0], 1.0) == [(0, 1), (1, 2)]
    assert cliques([1.0, 1.5, 1.9, 4.0], 1.0) == [(0, 2)]
    assert cliques([1.0, 3.0, 5.0], 1.0) == []


@settings(max_examples=40, deadline=None)
@given(
    st.integers(3, 5).flatmap(
        lambda k: st.lists(st.lists(st.integers(0, 5), min_size=k, max_size=k), min_size=2, max_size=10)
    ),
    st.randoms(use_true_random=False),
)
def test_order_of_cases_and_methods_changes_nothing(rows: list[list[int]], random) -> None:
    scores = np.array(rows, dtype=float)
    found = friedman(scores)
    cases = list(range(len(scores)))
    methods = list(range(scores.shape[1]))
    random.shuffle(cases)
    random.shuffle(methods)
    again = friedman(scores[cases][:, methods])
    assert again.mean_ranks == pytest.approx(found.mean_ranks[methods])
    assert again.p == pytest.approx(found.p, nan_ok=True)
    assert found.mean_ranks.mean() == pytest.approx((scores.shape[1] + 1) / 2)
