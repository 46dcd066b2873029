"""Changes of intensity: sample by sample, off means off, and no voxel moves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.trained import make_plan

from semiseg.batches import augment
from semiseg.batches.augment import intensity
from semiseg.batches.augment.draws import Draws, seed_from

SHAPES = [(3, 2, 9, 8), (3, 1, 8, 7, 6)]


def keys(*numbers: int) -> list[tuple[object, ...]]:
    return [(7, "unlabeled", n, "strong") for n in numbers]


def images(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", [intensity.weak, intensity.strong])
@settings(max_examples=6, deadline=None)
@given(first=st.integers(0, 1000))
def test_a_batch_is_its_samples_alone(change, shape, first):
    x = images(shape)
    together = change(x, Draws(keys(first, first + 1, first + 2)))
    for i in range(3):
        alone = change(x[i : i + 1], Draws(keys(first + i)))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(together).all()
    assert not torch.equal(together, x)


@pytest.mark.parametrize("shape", SHAPES)
def test_zero_strength_is_the_identity(shape):
    x, zero, one = images(shape), torch.zeros(3), torch.ones(3)
    draws = Draws(keys(1, 2, 3))
    same = dict(rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(intensity.contrast(x, one), x, **same)
    torch.testing.assert_close(intensity.brightness(x, zero), x, **same)
    torch.testing.assert_close(intensity.gamma(x, zero), x, **same)
    torch.testing.assert_close(intensity.noise(x, zero, draws), x, **same)
    torch.testing.assert_close(intensity.bias_field(x, zero, draws), x, **same)
    torch.testing.assert_close(intensity.blur(x, zero), x, **same)
    torch.testing.assert_close(intensity.holes(x, zero, draws), x, **same)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_each_change_keeps(shape):
    x, space = images(shape), tuple(range(2, len(shape)))
    strength, draws = torch.tensor([0.5, 1.0, 1.5]), Draws(keys(1, 2, 3))
    torch.testing.assert_close(intensity.contrast(x, strength).mean(space), x.mean(space))
    torch.testing.assert_close(intensity.contrast(x, strength).std(space)[1], x.std(space)[1])
    curved = intensity.gamma(x, strength)
    torch.testing.assert_close(curved.amin(space), x.amin(space))
    torch.testing.assert_close(curved.amax(space), x.amax(space))
    order = x[0, 0].flatten().argsort()
    assert (curved[0, 0].flatten()[order].diff() >= 0).all()
    flat = torch.full(shape, 3.0)
    for change in (intensity.contrast, intensity.brightness, intensity.gamma, intensity.blur):
        torch.testing.assert_close(change(flat, strength), flat)
    assert (intensity.blur(x, torch.ones(3)).std(space) < x.std(space)).all()
    holed = intensity.holes(x, torch.tensor([0.0, 1.0, 1.0]), draws)
    assert torch.equal(holed[0], x[0])
    covered = (holed != x)[1:, 0].float().mean()
    assert 0 < covered <= 3 * 0.5 ** len(space)


def test_constant_and_tiny_images_stay_finite():
    for x in (torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 5.0), torch.rand(1, 1, 2, 2, 2)):
        for change in (intensity.weak, intensity.strong):
            assert torch.isfinite(change(x, Draws(keys(1)))).all()


@pytest.mark.parametrize("dim", [2, 3])
def test_strong_differs_from_weak_and_both_from_the_labeled_view(dim):
    plan = make_plan(dim, patch=(8,) * dim)
    augmentation = augment.build("default", plan)
    x = images((2, 1, *[8] * dim))
    names = ("weak", "strong")
    weak, strong = (augmentation.view(n, x, Draws([(0, i, n) for i in range(2)])) for n in names)
    assert (strong - x).abs().mean() > (weak - x).abs().mean()
    for view in (weak, strong):  # bright stays bright: voxels are where they were
        assert torch.corrcoef(torch.stack([view[0].flatten(), x[0].flatten()]))[0, 1] > 0.5
    labeled = augmentation.view("labeled", x, Draws([(0, i, "weak") for i in range(2)]))
    assert torch.equal(labeled, weak)


def test_plain_crops_have_a_weak_view_that_is_the_image():
    plain = augment.build("none", make_plan(2, patch=(8, 8)))
    x = images((1, 1, 8, 8))
    assert plain.view("weak", x, Draws(keys(0))) is x
    assert not torch.equal(plain.view("strong", x, Draws(keys(0))), x)


def test_draws_belong_to_samples():
    both, second = Draws([("a", 1), ("a", 2)]), Draws([("a", 2)])
    for draw in (lambda d: d.uniform(-1, 2, 3), lambda d: d.normal(2, 2), lambda d: d.chance(0.5, 4)):
        assert torch.equal(draw(both)[1:], draw(second))
    values = Draws([("u", n) for n in range(500)]).uniform(-1, 2)
    assert values.min() >= -1
    assert values.max() < 2
    assert values.mean().item() == pytest.approx(0.5, abs=0.15)


def test_seeds_are_the_same_on_every_machine():
    assert seed_from(0, "labeled", 3, "cut") == seed_from(0, "labeled", 3, "cut")
    assert 0 <= seed_from("x") < 2**63
    assert len({seed_from(0, name, n) for name in ("labeled", "unlabeled") for n in range(500)}) == 1000
