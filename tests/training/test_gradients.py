"""Gradients that a method asks for: what of them the engine leaves, and what it does without a step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from semiseg.core import Batch, Clock, Gradient, Method, Update
from semiseg.training.update import Precision, iterate

CPU = torch.device("cpu")
FABRIC = Fabric(accelerator="cpu", devices=1)
EMPTY = Batch(torch.zeros(1), torch.zeros(1), {})


class TwoRanks:
    """A fabric whose other rank holds twice this rank's numbers."""

    world_size, device = 2, CPU

    def all_reduce(self, tensor: Tensor, reduce_op: str) -> Tensor:
        return tensor * 1.5


class Looking(Method):
    """One update on ``3 w`` whose gradient is kept, and one on ``4 w`` that is only looked at."""

    def __init__(self, factor: float = 4.0) -> None:
        super().__init__()
        self.net = nn.ParameterDict({name: torch.ones(2) for name in ("w", "unused", "frozen")})
        self.net["frozen"].requires_grad_(False)
        self.factor = factor
        self.first, self.second = Gradient(), Gradient()
        self.weights: list[Tensor] = []

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        yield Update(3 * self.net["w"].sum(), gradient=self.first)
        self.weights.append(self.net["w"].detach().clone())
        loss = self.factor * self.net["w"].sum()
        yield Update(loss, gradient=self.second, step=False, counts=False)
        self.weights.append(self.net["w"].detach().clone())


def run(method: Looking, precision: str = "32", fabric: object = FABRIC, clip: float | None = None):
    optimizer = torch.optim.SGD([p for p in method.net.parameters() if p.requires_grad], 0.5)
    settings = Precision(precision, CPU)
    logs, finite = iterate(fabric, method, EMPTY, {"net": optimizer}, Clock(0, 1), settings, clip=clip)
    return logs, finite, settings


@pytest.mark.parametrize("precision", ["32", "bf16", "16"])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_it_is_unscaled_unclipped_and_complete(precision, clip):
    method = Looking()
    logs, finite, _ = run(method, precision, clip=clip)
    assert finite
    order = [name for name, p in method.net.named_parameters() if p.requires_grad]
    for gradient, value in ((method.first, 3.0), (method.second, 4.0)):
        expected = torch.cat([torch.full((2,), value if name == "w" else 0.0) for name in order])
        assert gradient.vector.dtype == torch.float32
        assert torch.equal(gradient.vector, expected)
        assert gradient.lr == 0.5
    assert logs["loss"].item() == 6  # the one that is only looked at does not count


@pytest.mark.parametrize("precision", ["32", "16"])
def test_without_a_step_the_weights_stay(precision):
    method = Looking()
    run(method, precision)
    assert method.weights[0].tolist() == [-0.5, -0.5]
    assert torch.equal(*method.weights)


def test_it_is_the_mean_over_ranks():
    method = Looking()
    run(method, fabric=TwoRanks())
    assert method.first.vector.max().item() == 4.5
    assert method.second.vector.max().item() == 6.0


@pytest.mark.parametrize("precision", ["32", "16"])
def test_a_bad_gradient_is_told_and_lowers_the_scale(precision):
    method = Looking(factor=float("inf"))
    _, finite, settings = run(method, precision)
    assert not finite
    assert not method.second.vector.isfinite().all()
    if settings.scaler is not None:
        assert settings.scaler.get_scale() < torch.amp.GradScaler("cpu").get_scale()
