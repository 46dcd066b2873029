"""What entropy minimization must do for every input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import Clock
from semiseg.errors import UsageError
from semiseg.losses import entropy_loss
from semiseg.methods.entropy_min import EntropyMin
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, batches

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 3)


def draw(seed: int, k: int, dim: int) -> torch.Tensor:
    return 5 * torch.randn((2, k, *[4] * dim), generator=torch.Generator().manual_seed(seed))


@few
@given(seeds, classes, dims)
def test_it_lies_between_none_and_one(seed, k, dim):
    z = draw(seed, k, dim)
    assert -1e-5 <= entropy_loss(z.softmax(1)).item() <= 1 + 1e-5
    assert entropy_loss(torch.full_like(z, 1 / k)).item() == pytest.approx(1, abs=1e-5)
    assert entropy_loss((100 * z).softmax(1)).item() < entropy_loss(z.softmax(1)).item() + 1e-5


@few
@given(seeds, classes, dims)
def test_the_names_of_the_classes_do_not_matter(seed, k, dim):
    z = draw(seed, k, dim)
    order = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    assert entropy_loss(z[:, order].softmax(1)).item() == pytest.approx(
        entropy_loss(z.softmax(1)).item(), abs=1e-6
    )


@few
@given(seeds, classes, dims)
def test_without_weight_it_is_supervised(seed, k, dim):
    torch.manual_seed(seed)
    method = EntropyMin(lambda: Pointwise(dim, k), weight=0.0)
    batch = batches(dim, k, edge=4)(seed)
    (update,) = method.step(batch, Clock(5, 10))
    update.loss.backward()
    got = [p.grad.clone() for p in method.parameters()]
    method.zero_grad()
    method.supervised(method.net(batch.x_l).logits, batch.y_l).backward()
    for ours, theirs in zip(got, method.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.grad)


def test_its_gradient_alone_makes_predictions_sharper():
    torch.manual_seed(0)
    method = EntropyMin(lambda: TinyNet(2, 3), weight=1.0).eval()
    x = batches(2, 3)(0)
    optimizer = torch.optim.SGD(method.parameters(), 0.5)
    values = []
    for _ in range(10):
        (update,) = method.step(x, Clock(10, 10))
        values.append(update.logs["consistency"].item())
        optimizer.zero_grad()
        (update.loss - method.supervised(method.net(x.x_l).logits, x.y_l)).backward()
        optimizer.step()
    assert values[-1] < values[0]


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"ramp": 0}, {"ramp_unit": 0}, {"wait": 1}])
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(methods.find("entropy_min"), options)
