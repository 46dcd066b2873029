from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from semiseg.comparison.statistics import holm


def test_a_hand_computation() -> None:
    """0.005 x 4 = 0.02, 0.011 x 3 = 0.033, 0.02 x 2 = 0.04, and 0.04 x 1 stays at the 0.04 before it."""
    assert holm([0.02, 0.005, 0.04, 0.011]) == pytest.approx([0.04, 0.02, 0.04, 0.033])


def test_corrected_values_never_fall_below_an_earlier_one() -> None:
    """0.01 x 3 = 0.03; 0.012 x 2 = 0.024 is raised to 0.03."""
    assert holm([0.012, 0.01, 0.9]) == pytest.approx([0.03, 0.03, 0.9])


def test_what_was_not_tested_counts_for_nothing() -> None:
    corrected = holm([0.03, math.nan, 0.02])
    assert corrected[0] == pytest.approx(0.04)
    assert math.isnan(corrected[1])
    assert corrected[2] == pytest.approx(0.04)
    assert holm([]) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_properties(values: list[float], random) -> None:
    corrected = holm(values)
    assert all(p <= c <= 1 for p, c in zip(values, corrected, strict=True))
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
    shuffled = list(enumerate(values))
    random.shuffle(shuffled)
    again = dict(zip((i for i, _ in shuffled), holm([p for _, p in shuffled]), strict=True))
    assert [again[i] for i in range(len(values))] == pytest.approx(corrected)
    # Less strict than Bonferroni, stricter than the false discovery rate of Benjamini and Hochberg.
    assert all(c <= min(1.0, len(values) * p) + 1e-12 for p, c in zip(values, corrected, strict=True))
    fdr = stats.false_discovery_control(values)
    assert all(c >= f - 1e-12 for c, f in zip(corrected, fdr, strict=True))
