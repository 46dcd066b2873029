"""What DAN must do for every input."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from semiseg import methods
from semiseg.core import Clock
from semiseg.errors import UsageError
from semiseg.methods.dan import DAN
from tests.methods.tiny import TinyNet, batches

few = settings(max_examples=6, deadline=None)
seeds, dims, counts = st.integers(0, 10**6), st.integers(2, 3), st.integers(2, 4)
END = Clock(10, 10)


def built(seed: int, dim: int, k: int, **options) -> DAN:
    torch.manual_seed(seed)
    return DAN(lambda: TinyNet(dim, k), **{"critic_width": 2, **options})


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.state_dict())


def equal(a, b) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


@few
@given(seeds, dims, counts)
def test_each_phase_changes_one_side_alone(seed, dim, k):
    method, batch = built(seed, dim, k), batches(dim, k, edge=8)(seed)
    optimizers = {name: torch.optim.SGD(getattr(method, name).parameters(), 0.1) for name in method.trainable}
    net, critic = state(method.net), state(method.critic)
    updates = method.step(batch, END)
    for on in ("net", "critic"):
        update = next(updates)
        assert update.on == on
        assert update.counts == (on == "net")
        if on == "critic":
            assert equal(net, method.net.state_dict())  # buffers of batch norm, too
        optimizers[on].zero_grad()
        update.loss.backward()
        if on == "net":
            assert all(p.grad is None for p in method.critic.parameters())
        optimizers[on].step()
        if on == "net":
            assert equal(critic, method.critic.state_dict())
            assert not equal(net, method.net.state_dict())
            net = state(method.net)
    assert next(updates, None) is None
    assert equal(net, method.net.state_dict())
    assert not equal(critic, method.critic.state_dict())


@few
@given(seeds, dims, counts)
def test_without_weight_the_network_learns_from_labels_alone(seed, dim, k):
    method, batch = built(seed, dim, k, weight=0.0), batches(dim, k, edge=8)(seed)
    torch.manual_seed(seed)
    next(method.step(batch, END)).loss.backward()
    got = [p.grad.clone() for p in method.net.parameters()]
    method.net.zero_grad()
    torch.manual_seed(seed)
    logits = method.net(torch.cat([batch.x_l, batch.x_u["weak"]])).logits
    method.supervised(logits[: len(batch.x_l)], batch.y_l).backward()
    for ours, p in zip(got, method.net.parameters(), strict=True):
        torch.testing.assert_close(ours, p.grad)


@few
@given(seeds, dims)
def test_the_gradient_of_the_adversarial_term_reaches_the_network_through_the_critic(seed, dim):
    method, batch = built(seed, dim, 3, weight=1.0), batches(dim, 3, edge=8)(seed)
    grads = []
    for weight in (0.0, 1.0):
        method.weight = weight
        torch.manual_seed(seed)
        method.net.zero_grad()
        next(method.step(batch, END)).loss.backward()
        grads.append(method.net.head.weight.grad.clone())
    assert not torch.equal(*grads)


class Recorder(nn.Module):
    """Calls everything labeled, and keeps the modes that it and the network were in."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.asked: list[tuple[bool, bool, int]] = []
        self.weight = nn.Parameter(torch.zeros(1))
        self.modes = lambda: (self.training, net.training)

    def forward(self, maps, images):
        torch.testing.assert_close(maps.sum(1), torch.ones_like(maps[:, 0]))
        self.asked.append((*self.modes(), len(maps)))
        return torch.stack([0 * maps.flatten(1).sum(1), self.weight + 1.0 + 0 * images.flatten(1).sum(1)], 1)


def test_modes_and_what_the_critic_is_shown():
    method = built(0, 2, 3)
    method.critic = Recorder(method.net)
    first, second = method.step(batches(2, 3, labeled=2, unlabeled=3, edge=8)(0), END)
    assert method.critic.asked == [(False, True, 3), (True, True, 5)]
    assert method.net.training
    p = torch.tensor([0.0, 1.0]).log_softmax(0)
    assert first.logs["consistency"].item() == pytest.approx(-p[1].item())
    assert second.loss.item() == pytest.approx(-(2 * p[1] + 3 * p[0]).item() / 5)


def test_the_critic_keeps_its_learning_rate():
    method = built(0, 2, 3)
    (group,) = method.optimizers["critic"](method.critic).param_groups
    assert (group["lr"], group["betas"], group["scheduled"]) == (1e-4, (0.9, 0.99), False)


def test_a_network_that_does_not_tell_its_classes_is_refused():
    with pytest.raises(UsageError, match="dan needs"):
        DAN(lambda: nn.Conv2d(1, 2, 1))


@pytest.mark.parametrize(
    "options", [{"weight": -1.0}, {"critic_width": 0}, {"ramp": 0}, {"reuse_forward": True}]
)
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(DAN, options)
