"""Prediction copies: batch norm folded only where that is exact, and the same answers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semiseg import networks
from semiseg.core import SegOutput
from semiseg.inference.copies import TOLERANCE, prediction_copy


def trained(network: nn.Module) -> nn.Module:
    """Statistics and scales as after some training."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
    return network


def norms(network: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d) for m in network.modules())


@pytest.mark.parametrize(
    ("name", "dim", "patch", "options", "left"),
    [
        ("vnet", 3, (32, 32, 32), {"filters": 4}, 0),
        ("unet2d", 2, (32, 32), {}, 0),
        pytest.param("resvnet", 3, (32, 32, 32), {}, 0, marks=pytest.mark.slow),
        ("monai:UNet", 3, (16, 16, 16), {"norm": "batch", "channels": (4, 8), "strides": (2,)}, 0),
        ("vnet", 3, (32, 32, 32), {"filters": 4, "norm": "instance"}, 0),
    ],
)
def test_copies_answer_as_the_network(
    request: pytest.FixtureRequest, name: str, dim: int, patch: Any, options: Any, left: int
) -> None:
    if name.startswith("monai:"):
        request.getfixturevalue("monai")
    torch.manual_seed(0)
    network = trained(networks.build(name, dim=dim, in_channels=2, classes=3, patch=patch, **options))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    made, error = prediction_copy(network, 2, patch, "32")
    assert made is not network
    assert norms(made) == left
    assert error < 1e-4
    x = torch.randn(2, 2, *patch)
    with torch.inference_mode():
        wanted, found = network.eval()(x).logits, made(x).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not any(p.requires_grad for p in made.parameters())


def test_bf16_weights_are_those_of_autocast_and_few_labels_differ_from_folding() -> None:
    torch.manual_seed(0)
    network = trained(networks.build("vnet", dim=3, in_channels=1, classes=2, filters=8)).eval()
    made, error = prediction_copy(network, 1, (32, 32, 32), "bf16")
    assert {m.weight.dtype for m in made.modules() if isinstance(m, nn.Conv3d)} == {torch.bfloat16}
    assert 0 < error < 0.05
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        exact = network(x).logits.argmax(1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            plain, folded = network(x).logits.argmax(1), made(x).logits.argmax(1)
    shares = [float((labels != exact).float().mean()) for labels in (plain, folded)]
    assert shares[1] < 0.02  # random weights: many near-ties
    assert shares[1] < 1.5 * shares[0] + 1e-3


def test_without_norms_bf16_is_bit_for_bit_that_of_autocast() -> None:
    torch.manual_seed(0)
    network = networks.build("vnet", dim=3, in_channels=1, classes=2, filters=4, norm="none").eval()
    made, _ = prediction_copy(network, 1, (16, 16, 16), "bf16")
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made(x).logits, network(x).logits)


class Awkward(nn.Module):
    """A convolution and a norm in which folding would be wrong, unless ``kind`` is plain."""

    divisor = (4, 4)

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3, affine=kind != "plain", track_running_stats=kind != "batch")
        self.other = nn.Conv2d(3, 3, 1)
        if kind == "tied":
            self.other = nn.Conv2d(1, 3, 3, padding=1)
            self.other.weight = self.conv.weight
        if kind == "hooked":
            self.conv.register_forward_hook(lambda module, inputs, output: output * 2)

    def forward(self, x: Tensor) -> SegOutput:
        between = self.conv(x)
        if self.kind == "returned":
            return SegOutput(self.norm(between), between)
        if self.kind == "skip":
            return SegOutput(self.norm(between) + between)
        if self.kind == "twice":
            return SegOutput(self.norm(between) + self.norm(self.conv(-x)))
        if self.kind == "tied":
            return SegOutput(self.norm(between) + self.other(x))
        if self.kind == "activated":
            return SegOutput(self.norm(between.relu()))
        return SegOutput(self.norm(between))


@pytest.mark.parametrize(
    ("kind", "left"),
    [("plain", 0), *((kind, 1) for kind in
     ("returned", "skip", "twice", "tied", "hooked", "activated", "batch"))],
)  # fmt: skip
def test_folding_is_left_where_something_else_reads_the_convolution(kind: str, left: int) -> None:
    torch.manual_seed(0)
    network = Awkward(kind)
    if kind != "batch":
        network = trained(network)
    made, error = prediction_copy(network, 1, (8, 8), "32")
    assert norms(made) == left
    assert error < 1e-5


def test_a_network_that_cannot_be_copied_or_run_small_predicts_as_it_is() -> None:
    class Locked(nn.Module):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("one of a kind")

    network = Locked()
    made, error = prediction_copy(network, 1, (8, 8), "bf16")
    assert made is network
    assert math.isnan(error)


def test_a_number_format_that_garbles_is_found_out() -> None:
    class Garbled(nn.Module):
        def forward(self, x: Tensor) -> SegOutput:
            wrong = torch.inf if torch.is_autocast_enabled("cpu") else 1.0
            return SegOutput(x * wrong)

    _, error = prediction_copy(Garbled(), 1, (8, 8), "bf16")
    assert error == math.inf
    assert error > TOLERANCE["bf16"]


def test_the_global_generator_is_left_alone() -> None:
    network = Awkward("plain")
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    prediction_copy(network, 1, (8, 8), "bf16")
    assert torch.equal(torch.rand(1), wanted)
