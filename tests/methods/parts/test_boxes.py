"""Masks with holes: their size is exact, they stay inside, every published place is drawn."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.methods.parts.mixing import draw_mask, draw_starts, scaled

few = settings(max_examples=25, deadline=None)
sizes = st.integers(2, 3).flatmap(lambda dim: st.tuples(*[st.integers(3, 17)] * dim))
ratios = st.floats(0.0, 1.0)


@few
@given(sizes, ratios, st.integers(0, 10**6))
def test_the_hole_is_one_box_of_exactly_the_asked_size(size, ratio, seed):
    torch.manual_seed(seed)
    hole = ~draw_mask(size, ratio)
    assert hole.shape == size
    sides = [
        int(hole.any(tuple(a for a in range(len(size)) if a != axis)).sum()) for axis in range(len(size))
    ]
    expected = scaled(size, ratio)
    assert int(hole.sum()) == math.prod(expected)
    if all(expected):
        assert tuple(sides) == expected  # so that it is convex: as many voxels as its bounding box


@few
@given(sizes, ratios, st.integers(0, 10**6))
def test_small_boxes_lie_one_in_each_cell(size, ratio, seed):
    torch.manual_seed(seed)
    hole = ~draw_mask(size, ratio, "boxes")
    wanted = math.prod(scaled(size, ratio / 3))
    for axis, length in enumerate(size):
        hole = hole.narrow(axis, 0, 3 * (length // 3))
    cells = hole
    for axis, length in enumerate(size):
        cells = cells.unflatten(2 * axis, (3, length // 3))
    inside = cells.sum(tuple(range(1, 2 * len(size), 2)))
    assert (inside == wanted).all()


@few
@given(sizes, ratios, st.integers(0, 10**6))
def test_a_strip_spans_all_axes_but_the_first(size, ratio, seed):
    torch.manual_seed(seed)
    hole = ~draw_mask(size, ratio, "strip")
    rows = hole.flatten(1)
    assert (rows.all(1) == rows.any(1)).all()
    assert int(rows.all(1).sum()) == scaled(size[:1], ratio ** len(size))[0]


def test_every_place_but_the_last_is_drawn():
    torch.manual_seed(0)
    starts = {draw_starts((7, 5), (3, 5))[0] for _ in range(200)}
    assert starts == {(a, 0) for a in range(7 - 3)}


@pytest.mark.parametrize(("length", "side"), [(112, 74), (80, 53), (256, 170), (96, 64), (48, 32), (3, 2)])
def test_two_thirds_are_rounded_down(length, side):
    assert scaled((length,), 2 / 3) == (side,)
