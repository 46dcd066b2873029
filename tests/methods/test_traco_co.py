"""What TraCoCo must do for every input; the numbers are those of its properties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semiseg import methods
from semiseg.core import SHIFTED, Clock
from semiseg.errors import UsageError
from semiseg.losses import regional_cross_entropy
from semiseg.methods.parts.mixing import columns, draw_columns
from semiseg.methods.traco_co import TraCoCo, cleaned, saddle_entropy, translation_consistency
from tests.methods.answers import Pointwise
from tests.methods.tiny import batches

few = settings(max_examples=10, deadline=None)
seeds, dims, classes = st.integers(0, 10**6), st.integers(2, 3), st.integers(2, 4)
forms = st.sampled_from(["classes", "released"])


def logits(seed: int, k: int, dim: int, n: int = 2, scale: float = 3.0) -> Tensor:
    return scale * torch.randn((n, k, *[4] * dim), generator=torch.Generator().manual_seed(seed))


def method_of(seed: int, dim: int, k: int, **options: object) -> TraCoCo:
    torch.manual_seed(seed)
    return TraCoCo(lambda: Pointwise(dim, k), **options)


@few
@given(seeds, dims, classes, forms)
def test_1_a_network_that_sees_single_voxels_is_consistent(seed, dim, k, form):
    """What it says of a voxel cannot depend on the rest of the crop."""
    method = method_of(seed, dim, k, noise=0.0, translation=form)
    for update in method.step(batches(dim, k, edge=6)(seed), Clock(5, 10)):
        logs = {name.removesuffix("2"): value.item() for name, value in update.logs.items()}
        assert logs["translation"] == pytest.approx(0.0, abs=1e-6)
    z = logits(seed, k, dim)
    assert translation_consistency([(z[0], z[0])], form=form).item() == pytest.approx(0.0, abs=1e-6)
    if form == "classes":
        assert translation_consistency([(z[0], z[1])]) > 0


@few
@given(seeds, dims, classes)
def test_2_no_consistency_is_asked_for_of_different_voxels(seed, dim, k):
    method = method_of(seed, dim, k, noise=0.0)
    batch = batches(dim, k, edge=6)(seed)
    wrong = {part: [(0,) * dim for _ in moved] for part, moved in batch.shifts.items()}
    (update, _) = method.step(batch._replace(shifts=wrong), Clock(5, 10))
    assert update.logs["translation"] > 1e-6


@few
@given(seeds, dims, classes, st.floats(0.0, 0.4))
def test_3_the_entropy_is_largest_at_equal_logits(seed, dim, k, shift):
    even = torch.full((k, *[4] * dim), 0.5)
    assert saddle_entropy([(even, even)]).item() == pytest.approx(-math.log(k), rel=1e-5)
    z = logits(seed, k, dim)
    assert saddle_entropy([(z[0], z[1])]) >= -math.log(k) - 1e-5
    inside = 0.1 + 0.4 * torch.rand_like(even)
    moved = inside + shift
    torch.testing.assert_close(saddle_entropy([(inside, inside)]), saddle_entropy([(moved, moved)]))


@few
@given(seeds, dims, classes, forms)
def test_4_without_a_sure_voxel_nothing_is_learned(seed, dim, k, negative):
    z, other = logits(seed, k, dim).requires_grad_(), logits(seed + 1, k, dim)
    loss = regional_cross_entropy(z, other, threshold=1.1, excluded_below=0.0, negative=negative)
    loss.backward()
    assert loss == 0
    assert (z.grad == 0).all()


@few
@given(seeds, dims)
def test_5_of_two_classes_the_negative_term_is_small(seed, dim):
    z, other = logits(seed, 2, dim), logits(seed + 1, 2, dim)
    q = other.softmax(1)
    here = q.amin(1) < 0.1
    ce = torch.nn.functional.cross_entropy(z, other.argmax(1), reduction="none")
    loss = regional_cross_entropy(z, other, threshold=1.1)
    if here.any():
        assert loss <= 0.1 * ce[here].mean() + 1e-6
    released = regional_cross_entropy(z, other, threshold=1.1, negative="released")
    torch.testing.assert_close(loss, released)


@few
@given(seeds, dims, classes)
def test_6_each_loss_reaches_its_own_network_alone(seed, dim, k):
    method = method_of(seed, dim, k)
    first, second = method.step(batches(dim, k, edge=6)(seed), Clock(5, 10))
    first.loss.backward()
    assert any(p.grad.abs().sum() > 0 for p in method.net.parameters())
    assert all(p.grad is None for p in method.net2.parameters())
    second.loss.backward()
    assert any(p.grad.abs().sum() > 0 for p in method.net2.parameters())


@few
@given(seeds, st.floats(1.1, 5.0))
def test_7_a_surer_label_never_costs_more_but_in_the_released_form(seed, factor):
    other = logits(seed, 4, 2, 1, scale=6.0)
    z = logits(seed + 1, 4, 2, 1)
    surer = z + math.log(factor) * torch.nn.functional.one_hot(other.argmax(1), 4).movedim(-1, 1)
    cost = [regional_cross_entropy(x, other, threshold=1.1) for x in (z, surer)]
    assert cost[1] <= cost[0] + 1e-6


def test_7_the_released_form_teaches_against_the_label():
    other = torch.tensor([4.0, 0.0, 0.0]).view(1, 3, 1, 1)
    z = torch.tensor([2.0, 0.0, 0.0]).view(1, 3, 1, 1).requires_grad_()
    (released,) = torch.autograd.grad(regional_cross_entropy(z, other, threshold=1.1, negative="released"), z)
    (intended,) = torch.autograd.grad(regional_cross_entropy(z, other, threshold=1.1), z)
    assert intended[0, 0] < 0 < released[0, 0]


# --- beyond the paper -----------------------------------------------------------------------------


@few
@given(seeds, st.integers(1, 4))
def test_boxes_have_full_depth_and_stay_in_the_image(seed, n):
    torch.manual_seed(seed)
    boxes = draw_columns(n, (16, 12, 5))
    assert boxes.shape == (n, 1, 16, 12, 5)
    assert (boxes == boxes[..., :1]).all()
    flat = draw_columns(n, (16, 12))
    assert flat.shape == (n, 1, 16, 12)
    box = columns((8, 8), [(1, 7)], [(2, 2)])[0, 0]
    assert box.nonzero().amin(0).tolist() == [0, 5]
    assert box.nonzero().amax(0).tolist() == [2, 7]


@few
@given(seeds, dims, classes)
def test_noise_keeps_to_the_range_of_gray_values(seed, dim, k):
    x = batches(dim, k, edge=6)(seed).x_l
    space = list(range(2, x.ndim))
    method = method_of(seed, dim, k, noise=0.2, clamp=True)
    noisy = method.noisy(x)
    span = x.amax(space) - x.amin(space)
    assert ((noisy - x).abs().amax(space) <= 0.2 * span + 1e-6).all()
    assert (noisy.amax(space) <= x.amax(space)).all()
    assert method.views == ("weak", SHIFTED)


def test_of_what_is_taught_the_largest_component_is_left():
    z = torch.zeros(1, 2, 6, 6)
    z[:, 0] = 1.0
    z[0, 1, :3, :3] = z[0, 1, 5, 5] = 4.0
    kept = cleaned(z)
    assert kept[0, :, 5, 5].tolist() == [1.0, 0.0]
    assert kept[0, :, 0, 0].tolist() == [0.0, 4.0]
    alone = torch.zeros(1, 2, 6, 6)
    alone[:, 0] = 1.0
    assert torch.equal(cleaned(alone), alone)


def test_the_ramp_is_a_twentieth_of_the_run():
    method = method_of(0, 2, 2, weight=0.5)
    assert method.consistency_weight(Clock(0, 100)) == pytest.approx(0.5 * math.exp(-5))
    assert method.consistency_weight(Clock(5, 100)) == 0.5
    assert method_of(0, 2, 2, ramp=10).consistency_weight(Clock(5, 100)) < 1.0


@pytest.mark.parametrize(
    "options", [{"threshold": 1.5}, {"translation": "axis"}, {"cut": "first"}, {"noise": -1}]
)
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(TraCoCo, options)
