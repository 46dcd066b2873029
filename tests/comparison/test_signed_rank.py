"""The signed-rank test equals SciPy's and a published example, with zeros and ties counted out exactly."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.comparison.example import AUC

from semiseg.comparison.statistics import EXACT_UP_TO, signed_rank


@pytest.mark.parametrize("n", [2, 6, 20, 50, EXACT_UP_TO])
def test_without_ties_it_is_scipys_exact_test(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.2, 1, n)
    found = signed_rank(differences)
    assert found.exact
    assert found.p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, rel=1e-9)


def test_many_differences_are_taken_as_normal_as_scipy_does() -> None:
    differences = np.random.default_rng(0).integers(-8, 9, EXACT_UP_TO + 40) / 10
    found = signed_rank(differences)
    theirs = stats.wilcoxon(differences, zero_method="pratt", method="asymptotic", correction=False)
    assert not found.exact
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)


def test_zeros_and_ties_are_counted_out_over_all_signs() -> None:
    """By hand: ranks of 0 0 1 1 -2 3 4 5 are 1.5 1.5 3.5 3.5 5 6 7 8; the zeros' ranks are dropped."""
    found = signed_rank(np.array([0, 0, 1, 1, -2, 3, 4, 5]) / 10)
    ranks = [3.5, 3.5, 5, 6, 7, 8]
    sums = [sum(r for r, sign in zip(ranks, signs, strict=True) if sign) for signs in _signs(len(ranks))]
    assert (found.n, found.zeros, found.plus, found.minus) == (8, 2, 28.0, 5.0)
    assert found.p == 2 * sum(s <= 5 for s in sums) / len(sums) == 0.125
    assert found.effect == pytest.approx((28 - 5) / 33)


def test_the_example_of_demsar() -> None:
    """The paper has R+ = 93 and R- = 12, each with half of the two zeros' ranks (1.5); Pratt drops those."""
    found = signed_rank(AUC[:, 1] - AUC[:, 0])
    assert (found.plus, found.minus, found.zeros) == (93 - 1.5, 12 - 1.5, 2)
    ranks = np.sort(stats.rankdata(np.abs((AUC[:, 1] - AUC[:, 0]).round(9))))[2:]
    sums = np.array(_signs(12)) @ ranks
    assert found.p == 2 * np.count_nonzero(sums <= 10.5) / 2**12 == 0.0078125


@pytest.mark.parametrize(
    ("differences", "why"),
    [([], "no case"), ([0.3], "a single case"), ([0.0] * 7, "the two are equal in every case")],
)
def test_what_cannot_be_tested_has_no_p(differences: list[float], why: str) -> None:
    found = signed_rank(np.array(differences))
    assert math.isnan(found.p)
    assert found.why_not == why


def test_float_noise_makes_no_difference() -> None:
    noisy = np.array([0.1 + 0.2 - 0.3, 0.1, 0.3 - 0.2, -0.4, 0.5])
    exact = np.array([0.0, 0.1, 0.1, -0.4, 0.5])
    assert signed_rank(noisy) == signed_rank(exact)
    assert signed_rank(noisy).zeros == 1


def test_infinite_differences_have_the_largest_ranks() -> None:
    assert signed_rank(np.array([np.inf, 1.0, 2.0, -3.0])).plus == 4 + 1 + 2


differences = st.lists(st.integers(-6, 6).map(lambda k: k / 8), min_size=1, max_size=9)


@settings(max_examples=60, deadline=None)
@given(differences, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_swapping_mirrors(values: list[float], random) -> None:
    found, mirrored = signed_rank(np.array(values)), signed_rank(-np.array(values))
    shuffled = list(values)
    random.shuffle(shuffled)
    assert signed_rank(np.array(shuffled)) == pytest.approx(found, nan_ok=True) or math.isnan(found.p)
    assert (mirrored.plus, mirrored.minus) == (found.minus, found.plus)
    if not math.isnan(found.p):
        assert mirrored.p == pytest.approx(found.p)
        assert mirrored.effect == pytest.approx(-found.effect)
        assert 0 < found.p <= 1


@settings(max_examples=40, deadline=None)
@given(differences)
def test_the_p_value_is_that_of_every_way_to_sign_the_ranks(values: list[float]) -> None:
    found = signed_rank(np.array(values))
    if math.isnan(found.p):
        return
    ranks = stats.rankdata(np.abs(values))[np.array(values) != 0]
    smaller = min(found.plus, found.minus)
    sums = [float(np.dot(ranks, signs)) for signs in _signs(len(ranks))]
    assert found.p == pytest.approx(min(1.0, 2 * sum(s <= smaller for s in sums) / len(sums)))


def _signs(n: int) -> list[tuple[int, ...]]:
    return list(itertools.product((0, 1), repeat=n))
