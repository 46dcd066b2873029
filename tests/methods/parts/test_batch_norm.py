"""Passes that only look leave batch norm as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from semiseg.methods.parts.prototypes import frozen_running_statistics


def network() -> nn.Module:
    torch.manual_seed(0)
    untracked = nn.BatchNorm2d(4, track_running_stats=False)
    cumulative = nn.BatchNorm2d(4, momentum=None)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), cumulative, untracked, nn.InstanceNorm2d(4))


def test_batch_statistics_are_used_and_running_ones_stay():
    net, x = network(), torch.randn(3, 1, 6, 6)
    twin, before = copy.deepcopy(net), copy.deepcopy(net.state_dict())
    with frozen_running_statistics(net):
        frozen = net(x)
    assert torch.equal(frozen, twin(x))
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert not torch.equal(before["1.running_mean"], twin[1].running_mean)
    net(x)  # and they move again
    assert all(torch.equal(twin.state_dict()[key], value) for key, value in net.state_dict().items())


def test_in_eval_mode_running_statistics_are_used():
    net, x = network(), torch.randn(3, 1, 6, 6)
    net(x)
    net.eval()
    expected = net(x)
    with frozen_running_statistics(net):
        assert torch.equal(net(x), expected)


def test_a_gradient_may_pass_through_a_forward_before_it():
    net, x = network(), torch.randn(3, 1, 6, 6)
    loss = net(x).square().sum()
    with torch.no_grad(), frozen_running_statistics(net):
        net(x + 1)
    loss.backward()
    assert net[0].weight.grad is not None


def test_an_error_inside_lets_go():
    net = network()
    with pytest.raises(RuntimeError), frozen_running_statistics(net):
        net(torch.zeros(1, 2, 6, 6))
    assert [m.track_running_stats for m in net if isinstance(m, nn.BatchNorm2d)] == [True, True, False]
