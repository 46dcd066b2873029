"""What methods of two networks that teach each other share, for every input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import Clock, Method, Update
from semiseg.errors import UsageError
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet, batches, loop_for

NAMES = ["cps", "cross_teaching", "r_drop", "co_da"]

few = settings(max_examples=8, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)
pytestmark = pytest.mark.parametrize("name", NAMES)


def make(name: str, seed: int, k: int, dim: int, **options: object) -> Method:
    torch.manual_seed(seed)
    return methods.find(name)(lambda **choice: Pointwise(dim, k), **{"weight": 1.0, **options})


def updates(method: Method, seed: int, k: int, dim: int) -> list[Update]:
    return list(method.step(batches(dim, k, edge=4)(seed), Clock(10, 10)))


@few
@given(seeds, classes, dims)
def test_no_loss_of_one_network_reaches_the_other(name, seed, k, dim):
    method = make(name, seed, k, dim)
    first, second = updates(method, seed, k, dim)
    first.loss.backward()
    assert any(p.grad.abs().sum() > 0 for p in method.net.parameters())
    assert all(p.grad is None for p in method.net2.parameters())
    method.net.zero_grad()
    second.loss.backward()
    assert any(p.grad.abs().sum() > 0 for p in method.net2.parameters())
    assert all(p.grad is None for p in method.net.parameters())


@few
@given(seeds, classes, dims)
def test_swapping_the_networks_swaps_the_losses(name, seed, k, dim):
    method = make(name, seed, k, dim)
    first, second = updates(method, seed, k, dim)
    method.net, method.net2 = method.net2, method.net
    swapped = updates(method, seed, k, dim)
    torch.testing.assert_close([u.loss for u in swapped], [second.loss, first.loss])


@few
@given(seeds, classes, dims)
def test_without_weight_they_are_two_supervised_trainings(name, seed, k, dim):
    method = make(name, seed, k, dim, weight=0.0)
    batch = batches(dim, k, edge=4)(seed)
    for update in updates(method, seed, k, dim):
        update.loss.backward()
        network = getattr(method, update.on)
        got = [p.grad.clone() for p in network.parameters()]
        network.zero_grad()
        method.supervised(network(batch.x_l).logits, batch.y_l).backward()
        for ours, p in zip(got, network.parameters(), strict=True):
            torch.testing.assert_close(ours, p.grad)


def test_the_networks_start_and_stay_different(name):
    torch.manual_seed(0)
    method = methods.find(name)(lambda **choice: TinyNet(2, 3))

    def same() -> bool:
        pairs = zip(method.net.parameters(), method.net2.parameters(), strict=True)
        return any(torch.equal(p, q) for p, q in pairs if p.ndim > 1)

    assert not same()
    loop_for(method, batches(2, 3), 3).run()
    assert not same()


def test_both_losses_are_of_the_weights_before_the_step(name):
    """A step of the engine is the step that each loss alone would make."""
    method, alone = make(name, 0, 3, 2), make(name, 0, 3, 2)
    for update in updates(alone, 0, 3, 2):
        update.loss.backward()
    optimizers = {n: torch.optim.SGD(getattr(method, n).parameters(), 0.1) for n in method.trainable}
    for update in method.step(batches(2, 3, edge=4)(0), Clock(10, 10)):
        optimizers[update.on].zero_grad()
        update.loss.backward()
        optimizers[update.on].step()
    for n in method.trainable:
        for p, q in zip(getattr(method, n).parameters(), getattr(alone, n).parameters(), strict=True):
            torch.testing.assert_close(p, q - 0.1 * q.grad)


@pytest.mark.parametrize(("predict_with", "share"), [("first", 1.0), ("second", 0.0), ("average", 0.5)])
def test_the_exported_network(name, predict_with, share):
    method = make(name, 0, 3, 2, predict_with=predict_with).eval()
    x = torch.randn(2, 1, 4, 4)
    p, q = method.net(x).logits.softmax(1), method.net2(x).logits.softmax(1)
    answer = getattr(method, method.predictor)(x).logits.softmax(1)
    torch.testing.assert_close(answer, share * p + (1 - share) * q)
    assert not any(key.startswith("both") for key in method.state_dict())


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"ramp": 0}, {"predict_with": "both"}, {"wait": 1}])
def test_wrong_options(name, options):
    with pytest.raises(UsageError):
        methods.check_options(methods.find(name), options)
