"""What disturbing feature maps must do for every map."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.methods.parts.branches import channel_dropout, feature_drop, feature_dropout, feature_noise

few = settings(max_examples=15, deadline=None)
seeds, dims = st.integers(0, 10**6), st.integers(2, 3)


def positive_map(seed: int, dim: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.rand(3, 5, *[4] * dim) + 0.01


@few
@given(seeds, dims)
def test_feature_drop_only_removes_and_takes_the_most_active_position(seed, dim):
    x = positive_map(seed, dim)
    y = feature_drop(x)
    assert ((y == x) | (y == 0)).all()
    for before, after in zip(x, y, strict=True):
        most_active = before.mean(0).flatten().argmax()
        assert not after.flatten(1)[:, most_active].any()
    low = x.mean(1, keepdim=True) < 0.7 * x.mean(1).flatten(1).amax(1).view(-1, *[1] * (dim + 1))
    assert torch.equal((y * low), (x * low))  # below the lowest u all stay


@few
@given(seeds, dims)
def test_noise_keeps_the_sign_and_is_shared_by_the_batch(seed, dim):
    x = positive_map(seed, dim) - 0.5
    y = feature_noise(x)
    assert torch.equal(y.sign(), x.sign())
    ratio = y / x
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=1e-4)
    assert 0.69 < ratio.min() < ratio.max() < 1.31
    assert ratio.std() > 0.05


@few
@given(seeds, dims)
def test_dropout_of_values_and_of_channels(seed, dim):
    x = positive_map(seed, dim)
    values, channels = feature_dropout(x, rate=0.5), channel_dropout(x, rate=0.5)
    for y in (values, channels):
        torch.testing.assert_close(y, torch.where(y == 0, 0.0, 2 * x))
    gone = (channels == 0).flatten(2)
    assert torch.equal(gone.all(2), gone.any(2))
    assert not torch.equal((values == 0).flatten(2).all(2), (values == 0).flatten(2).any(2))


def test_the_gradient_of_a_dropped_position_is_zero():
    x = positive_map(0, 2).requires_grad_()
    y = feature_drop(x)
    y.sum().backward()
    assert torch.equal(x.grad == 0, y == 0)
