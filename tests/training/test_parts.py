"""The engine's small parts: number formats, one update, several ranks, the meter, optimizers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch
from lightning_fabric import Fabric
from tests.methods.tiny import TinyNet, batches, make
from torch import Tensor, nn

from semiseg.core import Batch, Clock, Method, SegOutput, Update
from semiseg.machine.hardware import native_precision
from semiseg.settings.config import OptimizerConfig, ScheduleConfig
from semiseg.training.optim import build_optimizer, lr_factor, skips_by_itself, step_unless
from semiseg.training.stages import Meter
from semiseg.training.trained import TOLERANCE, choose, gradient_error
from semiseg.training.update import (
    Precision,
    Skips,
    any_rank,
    average_batch_norm,
    average_gradients,
    iterate,
    running_statistics,
)

CPU = torch.device("cpu")
FABRIC = Fabric(accelerator="cpu", devices=1)
AT = batches(2, 3, edge=8)


class Coarse(torch.autograd.Function):
    """Identity whose gradient is wrong (or NaN) when the input is bf16."""

    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return (grad * ctx.factor if grad.dtype == torch.bfloat16 else grad), None


class BadInBf16(nn.Module):
    """A network as some CPUs have them: its gradients are garbage in bf16 only."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.first, self.last = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> SegOutput:
        return SegOutput(self.last(Coarse.apply(self.first(x), self.factor)))


def test_a_healthy_network_passes_the_self_check_and_is_left_as_it_was():
    torch.manual_seed(0)
    network = TinyNet(2, 3)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert gradient_error(network, AT(0), Precision("bf16", CPU)) < TOLERANCE
    assert gradient_error(network, AT(0), Precision("32", CPU)) == 0
    assert network.training
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("factor", [-1.0, 50.0, float("nan"), float("inf")])
def test_garbage_gradients_fail_the_self_check(factor):
    torch.manual_seed(0)
    assert gradient_error(BadInBf16(factor), AT(0), Precision("bf16", CPU)) > TOLERANCE
    assert gradient_error(BadInBf16(factor), AT(0), Precision("32", CPU)) == 0


class BadInChannelsLast(nn.Module):
    """A network whose gradients are garbage in bf16 with channels last only."""

    def __init__(self) -> None:
        super().__init__()
        self.bad, self.good = BadInBf16(-1.0), BadInBf16(1.0)
        self.good.load_state_dict(self.bad.state_dict())

    def forward(self, x: Tensor) -> SegOutput:
        weight = self.bad.first.weight
        last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        return (self.bad if last else self.good)(x)


def test_the_memory_format_is_checked_with_the_precision():
    torch.manual_seed(0)
    network, batch = BadInChannelsLast(), AT(0)
    for branch in (network.bad, network.good):
        branch.first = nn.Conv2d(2, 4, 3, 1, 1)  # one channel has no format
    network.good.load_state_dict(network.bad.state_dict())
    batch = batch._replace(x_l=torch.cat([batch.x_l, batch.x_l.flip(-1)], 1))
    bf16 = Precision("bf16", CPU)
    assert gradient_error(network, batch, bf16) < TOLERANCE
    assert gradient_error(network, batch, bf16, torch.channels_last) > TOLERANCE
    assert not network.bad.first.weight.is_contiguous()

    method = make("supervised", 2, 3)
    method.net = network
    chosen = choose(FABRIC, method, batch, "bf16", torch.channels_last, asked=False)
    assert (chosen.precision.name, chosen.form) == ("bf16", torch.contiguous_format)
    assert "without it" in chosen.notice
    assert network.bad.first.weight.is_contiguous()
    chosen = choose(FABRIC, method, batch, "bf16", torch.contiguous_format, asked=False)
    assert chosen.notice is None


@pytest.mark.parametrize(("asked", "name"), [(False, "32"), (True, "bf16")])
def test_float32_is_the_last_resort(asked, name):
    torch.manual_seed(0)
    method = make("supervised", 2, 3)
    method.net = BadInBf16(float("nan"))
    chosen = choose(FABRIC, method, AT(0), "bf16", torch.channels_last, asked=asked)
    assert (chosen.precision.name, chosen.form) == (name, torch.channels_last)
    assert "off float32" in chosen.notice


def test_images_that_are_nan_fail_the_self_check():
    batch = AT(0)
    batch = batch._replace(x_l=batch.x_l * torch.nan)
    assert gradient_error(TinyNet(2, 3), batch, Precision("bf16", CPU)) == float("inf")


@pytest.mark.parametrize("flags", [None, True, False])
def test_bf16_is_native_where_the_cpu_has_it(flags, monkeypatch):
    monkeypatch.setattr("semiseg.machine.hardware.cpu", lambda: {"bf16": flags})
    assert native_precision(CPU) == ("bf16" if flags else "32")


@pytest.mark.parametrize("name", ["32", "bf16"])
def test_forward_passes_run_in_the_precision_and_weights_stay_float32(name):
    seen = []

    class Spy(Method):
        def __init__(self) -> None:
            super().__init__()
            self.net = TinyNet(2, 3)

        def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
            logits = self.net(batch.x_l).logits
            seen.append(logits.dtype)
            yield Update(logits.float().square().mean())
            seen.append(self.net(batch.x_l).logits.dtype)

    method = Spy()
    optimizer = torch.optim.SGD(method.net.parameters(), 0.1)
    iterate(FABRIC, method, AT(0), {"net": optimizer}, Clock(0, 1), Precision(name, CPU))
    assert seen == [torch.bfloat16 if name == "bf16" else torch.float32] * 2
    assert all(p.dtype == torch.float32 for p in method.parameters())


@pytest.mark.parametrize("clip", [None, 0.01])
def test_gradients_are_clipped_to_the_norm(clip):
    method = make("supervised", 2, 3)
    norms = []

    class Spy(torch.optim.SGD):
        def step(self, closure: None = None) -> None:
            norms.append(torch.nn.utils.get_total_norm([p.grad for p in method.net.parameters()]))

    optimizers = {"net": Spy(method.net.parameters(), 0.1)}
    iterate(FABRIC, method, AT(0), optimizers, Clock(0, 1), Precision("32", CPU), clip=clip)
    if clip:
        torch.testing.assert_close(norms[0], torch.tensor(clip), rtol=1e-4, atol=0)
    else:
        assert norms[0] > 0.01


def test_code_after_a_yield_sees_the_stepped_weights():
    losses = []

    class Twice(Method):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(1, 1, bias=False)

        def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
            for _ in range(2):
                loss = self.net.weight.square().sum()
                losses.append(loss.item())
                yield Update(loss)

    method = Twice()
    optimizer = torch.optim.SGD(method.net.parameters(), 0.25)
    logs, finite = iterate(FABRIC, method, AT(0), {"net": optimizer}, Clock(0, 1), Precision("32", CPU))
    assert losses[1] == pytest.approx(losses[0] / 4)
    assert logs["loss"].item() == pytest.approx(sum(losses))
    assert finite


@pytest.mark.parametrize("precision", ["32", "16"])
@pytest.mark.parametrize(("factor", "stepped"), [(1e11, True), (1e30, False), (float("nan"), False)])
def test_an_absurd_gradient_is_no_step(factor, stepped, precision):
    class Steep(Method):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(1, 1, bias=False)

        def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
            yield Update(factor * self.net.weight.sum())

    method = Steep()
    before = method.net.weight.item()
    optimizer = torch.optim.SGD(method.net.parameters(), 1e-11)
    settings = Precision(precision, CPU)
    _, finite = iterate(FABRIC, method, AT(0), {"net": optimizer}, Clock(0, 1), settings)
    assert finite == stepped
    assert (method.net.weight.item() != before) == stepped


def test_one_process_is_its_own_mean():
    network = TinyNet(2, 3)
    network(AT(0).x_l).logits.sum().backward()
    before = [p.grad.clone() for p in network.parameters()]
    statistics = [b.clone() for b in running_statistics(network)]
    average_gradients(FABRIC, network.parameters())
    average_batch_norm(FABRIC, network)
    assert len(statistics) == 4  # mean and variance of two batch norms
    assert all(torch.equal(b, p.grad) for b, p in zip(before, network.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(statistics, running_statistics(network), strict=True))
    assert any_rank(FABRIC, True)
    assert not any_rank(FABRIC, False)


class TwoRanks:
    """A fabric whose other rank holds twice this rank's numbers."""

    world_size, device = 2, CPU

    def all_reduce(self, tensor: Tensor, reduce_op: str) -> Tensor:
        return tensor * (1.5 if reduce_op == "mean" else 3)


def test_gradients_are_averaged_and_missing_ones_count_as_zero():
    network = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    network[0](torch.ones(1, 2)).sum().backward()
    frozen = network[0].bias.requires_grad_(False)
    frozen.grad = None
    average_gradients(TwoRanks(), network.parameters())
    assert torch.equal(network[0].weight.grad, torch.full((2, 2), 1.5))
    assert torch.equal(network[1].weight.grad, torch.zeros(2, 2))
    assert frozen.grad is None
    assert any_rank(TwoRanks(), True)


def test_meter_means_and_speed():
    meter = Meter(10)
    meter.start()
    for value in (1.0, 2.0, 6.0):
        meter.add({"loss": torch.tensor(value), **({"rare": torch.tensor(4.0)} if value == 6 else {})})
        time.sleep(0.01)
    assert meter.read() == {"loss": 3.0, "rare": 4.0}
    assert 0 < meter.per_second < 3 / 0.03
    assert meter.seconds_left(4) == pytest.approx(6 / meter.per_second)
    assert meter.read() == {}


def test_meter_does_not_change_what_it_is_given():
    meter, value = Meter(1), torch.tensor(1.0)
    meter.add({"loss": value})
    meter.add({"loss": value})
    assert value.item() == 1.0
    assert meter.read() == {"loss": 1.0}


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimizers_by_name(name, kind):
    network = TinyNet(2, 3)
    network.head.requires_grad_(False)
    optimizer = build_optimizer(network, OptimizerConfig(name=name, lr=0.3, weight_decay=0.2))
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.2)
    assert len(group["params"]) == sum(p.requires_grad for p in network.parameters())


def test_learning_rate_factors():
    assert lr_factor(ScheduleConfig(name="constant"), 7, 10) == 1
    assert lr_factor(ScheduleConfig(name="step", every=5, factor=0.1), 12, 20) == pytest.approx(0.01)
    assert lr_factor(ScheduleConfig(name="cosine"), 5, 10) == pytest.approx(0.5)
    assert lr_factor(ScheduleConfig(name="poly", power=2.0), 5, 10) == pytest.approx(0.25)
    assert lr_factor(ScheduleConfig(name="poly", power=1.0, warmup=4), 1, 10) == pytest.approx(0.5 * 0.9)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_fused_step_can_be_left_out_without_waiting(name):
    torch.manual_seed(0)
    networks = [nn.Linear(3, 2), nn.Linear(3, 2)]
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers = [build_optimizer(n, OptimizerConfig(name=name, lr=0.1, weight_decay=0.1)) for n in networks]
    assert all(map(skips_by_itself, optimizers))
    for k in range(4):
        bad = k in (0, 2)  # the first step, too, which has no momentum yet
        for network, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            (network(torch.ones(1, 3)) * (k + 1)).sum().backward()
            if bad:
                network.weight.grad.fill_(torch.nan)
        step_unless(optimizers[0], torch.tensor(bad))
        if not bad:
            optimizers[1].step()
        pairs = zip(networks[0].parameters(), networks[1].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_skips_are_counted_in_all_and_in_a_row():
    skips = Skips(CPU)
    for finite in (False, True, False, False, False, True, False):
        skips.add(torch.tensor(finite))
    assert (skips.total, skips.in_a_row) == (5, 1)
    found = skips.read()
    assert (found.new, found.longest) == (5, 3)
    skips.add(torch.tensor(False))
    found = skips.read()
    assert (found.new, found.longest) == (1, 2)
    later = Skips(CPU)
    later.restore(skips.total, skips.in_a_row)
    later.add(torch.tensor(False))
    assert later.read().longest == 3
    assert later.total == 7
