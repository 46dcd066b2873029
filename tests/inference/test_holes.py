"""Holes: background that a class encloses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from semiseg.errors import UsageError
from semiseg.inference.postprocess import fill, postprocess

VALUES = {"muscle": 3, "blood": 7}


def ring(n: int, value: int, inside: int = 0, background: int = 0) -> np.ndarray:
    labels = np.full((n, n), background, np.uint8)
    labels[1:-1, 1:-1] = value
    labels[2:-2, 2:-2] = inside
    return labels


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 3), st.floats(0.3, 0.95))
def test_one_class_is_filled_as_by_scipy(seed, dim, share):
    draws = np.random.default_rng(seed)
    labels = (draws.random(tuple(draws.integers(1, 9, dim))) < share).astype(np.int16)
    wanted = ndimage.binary_fill_holes(labels)
    fill(labels, [1])
    np.testing.assert_array_equal(labels, wanted)


def test_other_classes_inside_stay():
    labels = ring(9, 3, inside=7)
    labels[4, 4] = 0
    found = postprocess(labels, VALUES, fill_holes=True)
    np.testing.assert_array_equal(found, ring(9, 3, inside=7))  # the hole is in the blood
    found = postprocess(labels, VALUES, fill_holes=("muscle",))
    assert found[4, 4] == 3
    assert (found == 7).sum() == (labels == 7).sum()


@pytest.mark.parametrize("order", [("muscle", "blood"), ("blood", "muscle")])
def test_the_inner_class_gets_the_hole_whatever_the_order(order):
    labels = np.zeros((11, 11), np.uint8)
    labels[1:-1, 1:-1] = ring(9, 3)
    labels[3:-3, 3:-3] = ring(5, 7)
    values = {name: VALUES[name] for name in order}
    found = postprocess(labels, values, fill_holes=True)
    assert found[5, 5] == 7
    assert found[3, 5] == 3


def test_a_cavity_is_closed_on_all_sides_and_a_tunnel_is_not():
    labels = np.zeros((7, 7, 7), np.uint8)
    labels[1:-1, 1:-1, 1:-1] = 3
    labels[3, 3, 3] = 0
    assert postprocess(labels, VALUES, fill_holes=True)[3, 3, 3] == 3
    labels[3, 3, :] = 0
    np.testing.assert_array_equal(postprocess(labels, VALUES, fill_holes=True), labels)


def test_holes_are_filled_before_components_are_compared():
    labels = np.zeros((20, 9), np.uint8)
    labels[:9] = ring(9, 3)  # 24 voxels, 49 with its hole
    labels[12:17, 2:7] = 3
    labels[11, 3:6] = 3
    found = postprocess(labels, VALUES, fill_holes=True, largest_component=True)
    assert (found == 3).sum() == 49
    found = postprocess(labels, VALUES, largest_component=True)
    assert (found == 3).sum() == 28


def test_the_declared_background_is_what_a_hole_holds():
    labels = ring(7, 3, inside=4, background=4)
    found = postprocess(labels, {"muscle": 3}, fill_holes=True, background=4)
    assert (found == 3).sum() == 25
    assert (found == 4).sum() == 24


def test_nothing_to_fill():
    labels = ring(7, 3, inside=3)
    found = postprocess(labels, VALUES, fill_holes=True)
    np.testing.assert_array_equal(found, labels)
    assert found is not labels
    assert found.dtype == labels.dtype
    assert postprocess(labels, VALUES, fill_holes=()) is labels


def test_an_unknown_class_is_told_with_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'blood'"):
        postprocess(ring(5, 3), VALUES, fill_holes=("blod",))
