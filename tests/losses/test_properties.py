"""What must hold for every input of the losses."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semiseg.core import IGNORE
from semiseg.losses import dice_ce, dice_loss, entropy_loss, entropy_map, softmax_kl, softmax_mse

few = settings(max_examples=15, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)


def make(seed: int, k: int, dim: int, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits (2, K, 5, ...) and a target with every class possible."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn((2, k, *[5] * dim), generator=generator)
    return logits, torch.randint(0, k, (2, *[5] * dim), generator=generator)


def onehot(target: Tensor, k: int) -> Tensor:
    return torch.nn.functional.one_hot(target, k).movedim(-1, 1).float()


@few
@given(seeds, classes, dims, st.booleans(), st.booleans())
def test_dice_lies_in_0_1_and_is_0_for_a_perfect_prediction(seed, k, dim, background, squared):
    logits, target = make(seed, k, dim, 10.0)
    loss = dice_loss(logits.softmax(1), target, include_background=background, squared=squared)
    assert 0 <= loss.item() <= 1
    perfect = dice_loss(onehot(target, k), target, include_background=background, squared=squared)
    assert perfect.item() == pytest.approx(0, abs=1e-6)


@few
@given(seeds, classes, dims)
def test_dice_does_not_depend_on_the_order_of_samples_voxels_or_classes(seed, k, dim):
    logits, target = make(seed, k, dim)
    loss = dice_ce(logits, target)
    close = dict(rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(dice_ce(logits.flip(0), target.flip(0)), loss, **close)
    torch.testing.assert_close(dice_ce(logits.flip(2, -1), target.flip(1, -1)), loss, **close)
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(dice_ce(logits[:, order], order.argsort()[target]), loss, **close)


@few
@given(seeds, classes, st.booleans())
def test_ignored_voxels_count_as_if_they_were_not_there(seed, k, background):
    logits, target = make(seed, k, 2)
    target[:, 2:] = IGNORE
    logits.requires_grad_()
    masked = dice_ce(logits, target, include_background=background)
    masked.backward()
    removed = dice_ce(logits[:, :, :2], target[:, :2], include_background=background)
    torch.testing.assert_close(masked, removed, rtol=1e-5, atol=1e-6)
    assert logits.grad is not None
    assert torch.equal(logits.grad[:, :, 2:], torch.zeros_like(logits.grad[:, :, 2:]))
    assert logits.grad[:, :, :2].abs().sum() > 0


def test_everything_ignored_costs_nothing_and_has_no_gradient():
    logits, target = make(0, 3, 2)
    logits.requires_grad_()
    loss = dice_ce(logits, torch.full_like(target, IGNORE))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@few
@given(seeds, classes)
def test_half_precision_logits_are_summed_in_float32(seed, k):
    logits, target = make(seed, k, 3)
    low = dice_ce(logits.bfloat16(), target)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, dice_ce(logits.bfloat16().float(), target))


@few
@given(seeds, classes, dims)
def test_consistency_is_symmetric_bounded_and_blind_to_constants(seed, k, dim):
    a, _ = make(seed, k, dim, 20.0)
    b, _ = make(seed + 1, k, dim, 20.0)
    loss = softmax_mse(a, b)
    torch.testing.assert_close(loss, softmax_mse(b, a))
    assert 0 <= loss.item() <= 2 / k + 1e-6
    shifted = a + torch.randn((2, 1, *[5] * dim), generator=torch.Generator().manual_seed(seed))
    assert softmax_mse(a, shifted).item() == pytest.approx(0, abs=1e-10)
    assert softmax_kl(a, shifted).item() == pytest.approx(0, abs=1e-5)
    assert softmax_kl(a, b).item() >= -1e-6
    torch.testing.assert_close(softmax_mse(a, b, reduction="voxel"), loss * k)
    torch.testing.assert_close(softmax_mse(a, b, reduction="sum"), loss * a.numel(), rtol=1e-4, atol=1e-3)


def test_opposite_certainty_reaches_the_bound():
    a, b = (
        torch.tensor([[[50.0]], [[-50.0]]]).movedim(0, 1),
        torch.tensor([[[-50.0]], [[50.0]]]).movedim(0, 1),
    )
    assert softmax_mse(a, b).item() == pytest.approx(1.0)
    assert torch.isfinite(softmax_kl(a, b))


@few
@given(seeds, classes, dims)
def test_entropy_lies_between_certainty_and_uniformity(seed, k, dim):
    logits, target = make(seed, k, dim)
    p = logits.softmax(1)
    values = entropy_map(p)
    assert values.shape == (2, 1, *[5] * dim)
    assert values.min() >= -1e-5
    assert values.max() <= 1 + 1e-5
    assert entropy_loss(onehot(target, k)).item() == pytest.approx(0, abs=1e-5)
    uniform = torch.full_like(p, 1 / k)
    assert entropy_loss(uniform).item() == pytest.approx(1, abs=1e-4)
    assert entropy_map(uniform, normalized=False).mean().item() == pytest.approx(math.log(k), abs=1e-4)
