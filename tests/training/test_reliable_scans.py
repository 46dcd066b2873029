"""What the choice of scans and voxels does for every input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.training.reliable_scans import (
    doubt,
    fold_disagreement,
    histogram,
    least_certain,
    most_reliable,
    round_change,
    stored,
    thresholds,
    volume_prior,
)

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10**6)


def draw(seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (6, 5, 4)).astype(np.uint8)
    return labels, rng.integers(85, 256, labels.shape).astype(np.uint8)


@few
@given(seeds)
def test_nothing_changes_only_between_equal_rounds(seed):
    first, second = draw(seed)[0], draw(seed + 1)[0]
    assert round_change(first, first, first) == 0
    assert round_change(first, second) > 0
    order = np.array([0, 2, 1])  # other names of the foreground
    assert round_change(first, second) == round_change(order[first], order[second])


def test_change_is_relative_to_the_later_round_and_infinite_without_foreground():
    small, large = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1])
    assert (round_change(small, large), round_change(large, small)) == (2 / 3, 2.0)
    assert round_change(large, np.zeros(4)) == math.inf
    assert round_change(small, large, large) == pytest.approx(1 / 3)


@few
@given(seeds)
def test_doubt_is_that_of_the_predicted_foreground(seed):
    labels, confidence = draw(seed)
    expected = 1 - confidence[labels > 0].mean() / 255
    assert doubt(histogram(labels, confidence, 3)) == pytest.approx(expected)
    assert doubt(histogram(np.zeros_like(labels), confidence, 3)) == math.inf


@few
@given(seeds, st.floats(0, 1))
def test_a_threshold_leaves_out_at_most_its_share_of_each_class_and_no_level_less(seed, quantile):
    labels, confidence = draw(seed)
    counts = histogram(labels, confidence, 3)
    for k, level in enumerate(thresholds(counts, quantile, 1.0)):
        mine = confidence[labels == k]
        assert (mine < level).mean() <= quantile
        assert level == 255 or (mine < level + 1).mean() > quantile
    assert all(level <= stored(0.5) for level in thresholds(counts, quantile, 0.5))


@few
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0, 1))
def test_the_most_reliable_stay(values, keep):
    kept = most_reliable(values, keep)
    assert len(kept) == max(round(keep * len(values)), min(len(values), 4))
    dropped = [v for i, v in enumerate(values) if i not in kept]
    assert all(values[i] <= min(dropped, default=math.inf) for i in kept)
    assert most_reliable(values, 1.0) == list(range(len(values)))


def test_scans_without_foreground_go_first():
    assert most_reliable([math.inf, 0.1, 0.2, 0.3, 0.4], 0.8) == [1, 2, 3, 4]


@few
@given(seeds)
def test_networks_that_agree_do_not_disagree(seed):
    first, second, third = (draw(seed + i)[0] for i in range(3))
    assert fold_disagreement([first, first, first]) == 0
    some = fold_disagreement([first, second, third])
    assert 0 < some <= 1
    assert some == pytest.approx(fold_disagreement([third, first, second]))


def test_disagreement_is_one_minus_the_mean_dice_of_classes_that_are_there():
    one, two, nothing = np.array([0, 1, 1, 2]), np.array([1, 1, 0, 2]), np.zeros(4, int)
    assert fold_disagreement([one, two]) == pytest.approx(1 - (0.5 + 1) / 2)
    assert fold_disagreement([one, nothing]) == 1
    assert fold_disagreement([nothing, nothing]) == math.inf


def test_a_volume_is_compared_with_the_median_of_the_scans_that_have_the_class():
    usual = np.array([[9, 10, 0], [9, 10, 4], [9, 30, 4]])
    assert volume_prior(np.array([1, 10, 4]), usual) == 0
    assert volume_prior(np.array([1, 20, 4]), usual) == pytest.approx(math.log(2))
    assert volume_prior(np.array([1, 10, 2]), usual) == pytest.approx(math.log(2))
    assert volume_prior(np.array([1, 10, 0]), usual) == 0  # some labeled scans lack it
    assert volume_prior(np.array([1, 0, 4]), usual) == math.inf


def test_the_certain_ones_are_left_out_in_the_opposite_sense():
    assert least_certain([0.0, 1.0, 2.0, 3.0], 25) == [1, 2, 3]
