"""One small sample on a CPU goes through the fast kernels, too, with the values of PyTorch's layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from semiseg.networks import build
from semiseg.networks.layers import Conv2d, Conv3d

FORMS = {2: torch.channels_last, 3: torch.channels_last_3d}
CASES = [
    (Conv3d, nn.Conv3d, {"kernel_size": 3, "padding": 1}),
    (Conv3d, nn.Conv3d, {"kernel_size": (1, 3, 3), "padding": (0, 1, 1), "bias": False}),
    (Conv3d, nn.Conv3d, {"kernel_size": 2, "stride": 2}),
    (Conv3d, nn.Conv3d, {"kernel_size": 3, "padding": 2, "dilation": 2}),
    (Conv3d, nn.Conv3d, {"kernel_size": 1}),
    (Conv2d, nn.Conv2d, {"kernel_size": 3, "padding": 1}),
    (Conv2d, nn.Conv2d, {"kernel_size": 3, "padding": 1, "groups": 2}),
]


def slow(call: Callable[[], Any]) -> list[list[int]]:
    """Weights (their shapes) that went to the slow kernel; one voxel wide, it is a matrix product."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        call()
    weights = [event.input_shapes[1] for event in found.events() if event.name == "aten::slow_conv3d_forward"]
    return [shape for shape in weights if max(shape[2:]) > 1]


def pair(ours: type, theirs: type, options: dict[str, Any]) -> tuple[nn.Module, nn.Module, Tensor]:
    torch.manual_seed(0)
    layers = (ours(4, 6, **options), theirs(4, 6, **options))
    layers[1].load_state_dict(layers[0].state_dict())
    dim = layers[0].weight.ndim - 2
    x = torch.randn(1, 4, *(8, 10, 6)[:dim]).contiguous(memory_format=FORMS[dim])
    return *layers, x


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_values_and_gradients_are_those_of_the_plain_layer(ours: type, theirs: type, options: dict[str, Any]):
    mine, plain, x = pair(ours, theirs, options)
    found = []
    for layer in (mine, plain):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        (y**3).sum().backward()
        found.append((y.detach(), leaf.grad, *(p.grad for p in layer.parameters())))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(mine(x), plain(x), rtol=1e-4, atol=1e-4)


def test_a_gradient_of_a_gradient_is_right():
    mine, plain, x = pair(*CASES[0])
    found = []
    for layer in (mine, plain):
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad((layer(leaf) ** 3).sum(), leaf, create_graph=True)
        (first**2).sum().backward()
        found.append(leaf.grad)
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("learning", [True, False])
def test_no_slow_kernel_runs_in_a_small_network(learning: bool):
    torch.manual_seed(0)
    net = build("unet", dim=3, in_channels=1, classes=2, features=(8, 16)).to(memory_format=FORMS[3])
    x = torch.randn(1, 1, 16, 16, 16).contiguous(memory_format=FORMS[3])
    plain, small = nn.Conv3d(8, 8, 3, padding=1), torch.randn(1, 8, 16, 16, 16)
    with torch.set_grad_enabled(learning):
        assert slow(lambda: plain(small)) == [[8, 8, 3, 3, 3]]  # else the class is not needed any more
        assert slow(lambda: net(x).logits) == []


def test_the_memory_format_stays():
    layer, _, x = pair(*CASES[0])
    assert layer(x).is_contiguous(memory_format=FORMS[3])
    with torch.no_grad():
        assert layer(x).is_contiguous(memory_format=FORMS[3])


def test_other_precisions_and_devices_are_left_to_pytorch():
    layer, plain, x = pair(*CASES[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x), plain(x))
    assert layer.double()(x.double()).dtype == torch.float64
    assert layer.to("meta")(x.double().to("meta")).shape == (1, 6, 8, 10, 6)
