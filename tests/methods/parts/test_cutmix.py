"""Boxes that are pasted between samples: inside the image, of the asked size, as often as asked."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.methods.parts.cutmix import box_around, draw_beta_boxes, draw_boxes, paste, sides

few = settings(max_examples=25, deadline=None)
sizes = st.integers(2, 3).flatmap(lambda dim: st.tuples(*[st.integers(5, 24)] * dim))


@few
@given(sizes, st.integers(0, 10**6))
def test_a_box_is_a_box_of_about_the_drawn_size(size, seed):
    torch.manual_seed(seed)
    for mask in draw_boxes(3, size, chance=1.0):
        edges = [
            int(mask.any(tuple(a for a in range(len(size)) if a != axis)).sum()) for axis in range(len(size))
        ]
        assert int(mask.sum()) == math.prod(edges)
        assert int(mask.sum()) <= 0.4 * math.prod(size)


@few
@given(sizes, st.floats(0.02, 0.4), st.floats(0.3, 1 / 0.3))
def test_sides_have_the_asked_share_up_to_rounding(size, area, ratio):
    large = [100 * n for n in size]
    assert math.prod(sides(large, area, ratio)) == pytest.approx(area * math.prod(large), rel=0.1)


def test_boxes_are_there_as_often_as_asked():
    torch.manual_seed(0)
    assert not draw_boxes(20, (8, 8), chance=0.0).any()
    present = draw_boxes(400, (16, 16), area=(0.2, 0.4)).flatten(1).any(1).float().mean()
    assert 0.4 < present < 0.6


def test_two_draws_differ_and_one_seed_draws_equally():
    torch.manual_seed(1)
    first, second = draw_boxes(4, (32, 32)), draw_boxes(4, (32, 32))
    torch.manual_seed(1)
    assert torch.equal(first, draw_boxes(4, (32, 32)))
    assert not torch.equal(first, second)


@few
@given(sizes, st.integers(0, 10**6))
def test_beta_boxes_are_inside_and_of_one_size_where_the_border_does_not_cut(size, seed):
    torch.manual_seed(seed)
    boxes = draw_beta_boxes(4, size)
    assert boxes.shape == (4, *size)
    box = box_around([n // 2 for n in size], size, 0.5)
    assert all(0 <= part.start <= part.stop <= n for part, n in zip(box, size, strict=True))


def test_paste_takes_every_channel_of_the_other_image():
    host, other = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    box = torch.zeros(2, 4, 4, dtype=torch.bool)
    box[0, 1:3] = True
    mixed = paste(host, other, box)
    assert mixed[0, :, 1:3].all()
    assert mixed.sum() == 3 * 8
