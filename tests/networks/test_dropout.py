"""Dropout draws less, and is otherwise what it always was."""

from __future__ import annotations

import pytest
import torch

from semiseg.networks.layers import Dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5])
def test_the_share_that_is_dropped_and_the_growth_of_the_rest(rate, dtype):
    torch.manual_seed(0)
    x = torch.ones(4, 16, 64, 64, dtype=dtype)
    y = Dropout(rate)(x)
    n = x.numel()
    assert y.dtype == dtype
    assert (y == 0).float().mean().item() == pytest.approx(rate, abs=4 * (rate * (1 - rate) / n) ** 0.5)
    torch.testing.assert_close(y[y != 0].unique().float(), torch.tensor([1 / (1 - rate)]), rtol=0.01, atol=0)


def test_neighbors_are_dropped_independently():
    torch.manual_seed(0)
    dropped = (Dropout(0.5)(torch.ones(2**18)) == 0).float()
    for distance in (1, 2, 3, 4, 8):
        both = (dropped[distance:] * dropped[:-distance]).mean().item()
        assert both == pytest.approx(0.25, abs=0.005)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 3, 5, 7),
        torch.randn(2, 3, 5, 7).to(memory_format=torch.channels_last),
        torch.randn(2, 3, 5, 7)[:, :, ::2],
        torch.randn(()),
    ],
    ids=["contiguous", "channels last", "with gaps", "scalar"],
)
def test_the_gradient_passes_where_the_value_does(x):
    torch.manual_seed(1)
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = Dropout(0.25)(x)
    y.sum().backward()
    assert torch.equal(y, x * x.grad)
    torch.testing.assert_close(x.grad, (x.grad > 0) / 0.75)
    assert y.stride() == torch.empty_like(x).stride()


def test_the_same_seed_drops_the_same_elements():
    drop, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(3)
    first = drop(x)
    second = drop(x)
    torch.manual_seed(3)
    assert torch.equal(drop(x), first)
    assert not torch.equal(first, second)


def test_nothing_happens_in_eval_mode_or_at_rate_0():
    x = torch.randn(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_all_may_be_dropped():
    assert torch.equal(Dropout(1.0)(torch.ones(10)), torch.zeros(10))
