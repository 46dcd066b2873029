"""Turns, flips and scaling: exact inverses, independent samples, draws that a seed repeats."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.methods.parts.transforms import (
    Chain,
    Symmetries,
    Symmetry,
    Zoom,
    draw_symmetries,
    draw_zoom,
    flip,
    side_of,
    symmetries_of,
    turns,
)

few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 10**6)
shapes = st.one_of(
    st.tuples(*[st.integers(4, 9)] * 2),
    st.tuples(*[st.integers(4, 7)] * 3),
    st.integers(4, 6).map(lambda n: (n, n, n + 2)),
    st.integers(4, 8).map(lambda n: (n, n)),
)


def images(seed: int, shape: tuple[int, ...], n: int = 5, channels: int = 2) -> torch.Tensor:
    return torch.randn((n, channels, *shape), generator=torch.Generator().manual_seed(seed))


def rotation_then_flips() -> list[Symmetry]:
    return [
        flip(2, 0).then(turns(2, r)) if b else turns(2, r) for r, b in itertools.product(range(4), (0, 1))
    ]


@given(seeds, st.integers(1, 5), st.integers(4, 9))
@few
def test_every_turn_and_flip_is_undone_exactly(seed, channels, edge):
    x = images(seed, (edge, edge), 8, channels)
    symmetries = Symmetries(rotation_then_flips())
    assert torch.equal(symmetries.invert(symmetries.apply(x)), x)
    assert torch.equal(symmetries.apply(symmetries.invert(x)), x)
    assert symmetries.valid(x).all()


def test_the_eight_are_distinct_and_all_there_are():
    x = torch.arange(36.0).view(1, 1, 6, 6)
    eight = rotation_then_flips()
    seen = {tuple(symmetry.apply(x).flatten().tolist()) for symmetry in eight}
    assert len(seen) == 8
    assert set(eight) == set(symmetries_of((6, 6)))


@pytest.mark.parametrize("times", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("plane", list(itertools.permutations(range(3), 2)))
def test_turns_are_those_of_torch(times, plane):
    x = images(0, (5, 5, 5))
    wanted = torch.rot90(x, times, [axis + 2 for axis in plane])
    assert torch.equal(turns(3, times, plane).apply(x), wanted)


@pytest.mark.parametrize(
    ("shape", "count"),
    [((6, 6), 8), ((6, 5), 4), ((4, 4, 4), 48), ((4, 4, 5), 16), ((5, 4, 4), 16), ((4, 5, 6), 8)],
)
def test_only_planes_with_equal_sides_have_quarter_turns(shape, count):
    symmetries = symmetries_of(shape)
    assert len(set(symmetries)) == count
    for symmetry in symmetries:
        assert symmetry.apply(torch.zeros(1, 1, *shape)).shape[2:] == shape


@given(seeds, shapes)
@few
def test_drawn_symmetries_keep_the_shape_and_are_undone(seed, shape):
    x = images(seed, shape)
    torch.manual_seed(seed)
    drawn = draw_symmetries(x)
    moved = drawn.apply(x)
    assert moved.shape == x.shape
    assert torch.equal(drawn.invert(moved), x)
    for i, symmetry in enumerate(drawn.symmetries):  # each sample as if it were alone
        assert torch.equal(moved[i], symmetry.apply(x[i : i + 1])[0])


@given(seeds, shapes, st.floats(0, 0.3))
@few
def test_draws_are_repeated_by_the_seed_and_leave_their_input_alone(seed, shape, amount):
    x = images(seed, shape)
    before = x.clone()
    results = []
    for _ in range(2):
        torch.manual_seed(seed)
        chain = Chain(draw_symmetries(x), draw_zoom(x, amount))
        results.append(chain.invert(chain.apply(x)))
    assert torch.equal(*results)
    assert torch.equal(x, before)


@given(seeds, shapes)
@few
def test_the_whole_grid_is_the_identity(seed, shape):
    x = images(seed, shape)
    zoom = Zoom([shape] * len(x))
    assert torch.equal(zoom.apply(x), x)
    assert torch.equal(zoom.invert(x), x)
    assert zoom.valid(x).all()


@given(seeds, shapes, st.floats(0.05, 0.5), st.floats(-4, 4))
@few
def test_a_constant_survives_a_round_trip_where_it_is_known(seed, shape, amount, value):
    x = torch.full((6, 1, *shape), value)
    torch.manual_seed(seed)
    zoom = draw_zoom(x, amount)
    back = zoom.invert(zoom.apply(x))
    valid = zoom.valid(x)
    torch.testing.assert_close(back.where(valid, value), x, rtol=1e-4, atol=1e-5)
    assert torch.equal(back.where(~valid, 0.0), torch.zeros_like(back))
    for mask, sides in zip(valid, zoom.sides, strict=True):
        inside = torch.tensor([min(n, edge) for n, edge in zip(sides, shape, strict=True)]).prod()
        assert mask.sum() == inside


@given(seeds, shapes)
@few
def test_samples_do_not_see_one_another(seed, shape):
    x = images(seed, shape)
    torch.manual_seed(seed)
    symmetries, zoom = draw_symmetries(x), draw_zoom(x, 0.4)
    chain = Chain(symmetries, zoom)
    moved, back, valid = chain.apply(x), chain.invert(x), chain.valid(x)
    for i in range(len(x)):
        alone = Chain(Symmetries(symmetries.symmetries[i : i + 1]), Zoom(zoom.sides[i : i + 1]))
        one = x[i : i + 1]
        torch.testing.assert_close(alone.apply(one)[0], moved[i])
        torch.testing.assert_close(alone.invert(one)[0], back[i])
        assert torch.equal(alone.valid(one)[0], valid[i])


def test_the_last_step_is_undone_first():
    x = images(0, (8, 8), 1)
    turn, flat = Symmetries([turns(2, 1)]), Zoom([(4, 8)])
    chain = Chain(turn, flat)
    assert torch.equal(chain.apply(x), flat.apply(turn.apply(x)))
    assert torch.equal(chain.invert(x), turn.invert(flat.invert(x)))
    assert torch.equal(chain.valid(x)[0, 0, 0], torch.tensor([False] * 2 + [True] * 4 + [False] * 2))


@given(st.floats(0.001, 2), st.integers(1, 300))
@few
def test_boxes_share_the_center_of_the_grid(factor, edge):
    side = side_of(factor, edge)
    assert side >= 1
    assert (edge - side) % 2 == 0
    assert side <= max(factor * edge, 2)
    assert side > factor * edge - 2
    assert side_of(1.0, edge) == edge


def test_half_precision_maps_come_back_in_float32():
    x = images(0, (8, 8)).to(torch.bfloat16)
    assert draw_zoom(x, 0.3).invert(x).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert draw_zoom(x, 0.3).apply(x.float()).dtype == torch.float32


def test_scaling_about_the_center_keeps_the_center():
    x = torch.zeros(1, 1, 9, 9)
    x[..., 4, 4] = 1
    for sides in [(5, 5), (7, 7), (11, 11)]:
        zoom = Zoom([sides])
        for moved in (zoom.apply(x), zoom.invert(x)):
            assert moved.flatten().argmax() == 4 * 9 + 4
            torch.testing.assert_close(moved, moved.flip(2, 3))
