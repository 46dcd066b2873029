"""Intervals equal SciPy's, mirror and shift as they should, and are refused where there is too little."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from semiseg.comparison.statistics import FEWEST, bootstrap, weights

DICE = np.array([0.91, 0.88, 0.93, 0.71, 0.90, 0.86, 0.89, 0.94, 0.52, 0.87, 0.90, 0.92])
"""Skewed, as Dice is: two cases went wrong."""
UNROUNDED = DICE + 1e-4 * np.sqrt([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37])
"""The same without resamples that equal the mean: there SciPy's count is a matter of float noise."""


def mean_of(values: np.ndarray):
    return lambda w: w @ values / w.sum(1)


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_of_a_mean_is_scipys(method: str, level: float) -> None:
    ours = bootstrap(mean_of(UNROUNDED), UNROUNDED.size, level=level, seed=7, method=method)
    theirs = stats.bootstrap(
        (UNROUNDED,),
        np.mean,
        confidence_level=level,
        n_resamples=9999,
        method=method,
        rng=np.random.default_rng(7),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    assert ours.method == method


def test_the_interval_of_a_ratio_is_scipys() -> None:
    """Not a mean: BCa's jackknife goes through the same statistic."""
    other = UNROUNDED[::-1] + 0.1

    def ratio(w: np.ndarray) -> np.ndarray:
        return (w @ UNROUNDED) / (w @ other)

    def of_samples(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return x.sum(axis) / y.sum(axis)

    theirs = stats.bootstrap(
        (UNROUNDED, other),
        of_samples,
        paired=True,
        method="bca",
        rng=np.random.default_rng(3),
        vectorized=True,
    ).confidence_interval
    ours = bootstrap(ratio, UNROUNDED.size, seed=3)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


def test_resamples_that_equal_the_value_count_half() -> None:
    """Of as many zeros as ones the mean is 1/2, and as many resamples lie below it as above."""
    halves = np.array([0.0, 1.0] * 5)
    found = bootstrap(mean_of(halves), 10)
    assert found.method == "bca"
    assert (found.low + found.high) / 2 == pytest.approx(0.5, abs=0.051)  # one step of the mean is 0.1


def test_bca_leans_towards_the_long_tail() -> None:
    bca, plain = (bootstrap(mean_of(DICE), DICE.size, method=m) for m in ("bca", "percentile"))
    assert bca.low < plain.low
    assert bca.high < plain.high


def test_the_seed_decides() -> None:
    first, again, other = (bootstrap(mean_of(DICE), DICE.size, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("n", [1, 2, FEWEST - 1])
def test_too_few_cases_have_no_interval(n: int) -> None:
    found = bootstrap(mean_of(DICE[:n]), n)
    assert math.isnan(found.low)
    assert found.why_not == f"{n} case{'s' if n > 1 else ''}; an interval needs 5"


def test_equal_values_have_an_interval_of_no_width() -> None:
    """BCa is not defined there; the plain percentiles are."""
    found = bootstrap(mean_of(np.full(10, 0.8)), 10)
    assert (found.low, found.high) == pytest.approx((0.8, 0.8))
    assert (found.method, found.why_not) == ("percentile", "")


def test_an_infinite_value_has_no_interval() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, np.inf])
    with np.errstate(invalid="ignore"):
        found = bootstrap(mean_of(values), 5)
    assert math.isnan(found.high)
    assert "no finite value" in found.why_not


def test_weights_count_each_draw() -> None:
    drawn = weights(6, 50, 0)
    assert drawn.shape == (50, 6)
    assert (drawn.sum(1) == 6).all()
    draws = np.random.default_rng(0).integers(0, 6, (50, 6))
    assert (drawn[3] == np.bincount(draws[3], minlength=6)).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=FEWEST, max_size=20), st.floats(-2, 2))
def test_a_shift_moves_the_interval_and_a_sign_mirrors_it(values: list[float], shift: float) -> None:
    array = np.array(values)
    interval = bootstrap(mean_of(array), array.size, resamples=199, method="percentile")
    moved = bootstrap(mean_of(array + shift), array.size, resamples=199, method="percentile")
    mirrored = bootstrap(mean_of(-array), array.size, resamples=199, method="percentile")
    assert (moved.low, moved.high) == pytest.approx((interval.low + shift, interval.high + shift), abs=1e-9)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low), abs=1e-9)
    assert array.min() - 1e-9 <= interval.low <= interval.high <= array.max() + 1e-9
