"""The default network: sized by the plan, 2D and 3D, in every precision and memory format."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import networks
from semiseg.errors import UsageError
from semiseg.networks.layers import InstanceNorm, instance_norm
from semiseg.preparation.plan import NetworkPlan

LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


@st.composite
def plans(draw: st.DrawFn) -> NetworkPlan:
    dim = draw(st.sampled_from([2, 3]))
    stages = draw(st.integers(1, 3))
    axes = st.lists(st.sampled_from([1, 2]), min_size=dim, max_size=dim)
    sizes = st.lists(st.sampled_from([1, 3]), min_size=dim, max_size=dim)
    return NetworkPlan(
        features=tuple(draw(st.integers(2, 5)) for _ in range(stages)),
        strides=((1,) * dim, *(tuple(draw(axes)) for _ in range(stages - 1))),
        kernels=tuple(tuple(draw(sizes)) for _ in range(stages)),
    )


@given(plan=plans(), residual=st.booleans(), up=st.sampled_from(["transposed", "linear"]))
@settings(max_examples=15, deadline=None)
def test_any_plan_gives_a_network_that_keeps_the_size(plan: NetworkPlan, residual: bool, up: str) -> None:
    dim = len(plan.strides[0])
    net = networks.build("unet", dim=dim, in_channels=2, classes=3, plan=plan, residual=residual, up=up)
    assert net.divisor == plan.divisor
    size = tuple(2 * d for d in plan.divisor)
    out = net(torch.randn(2, 2, *size))
    assert out.logits.shape == (2, 3, *size)
    assert out.features is not None
    assert out.features.shape == (2, plan.features[0], *size)
    loss = out.logits.square().mean() + out.features.mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_options_overrule_the_plan() -> None:
    plan = NetworkPlan(features=(4, 8), strides=((1, 1), (2, 2)), kernels=((3, 3), (3, 3)))
    net = networks.build("unet", dim=2, in_channels=1, classes=2, plan=plan, features=(6, 8))
    assert net.encoder[0].first.conv.out_channels == 6


def test_samples_do_not_see_one_another() -> None:
    net = networks.build("unet", dim=3, in_channels=1, classes=2, features=(4, 8), dropout=0.5)
    x = torch.randn(3, 1, 8, 6, 4)
    together = net.eval()(x).logits
    alone = torch.cat([net(one).logits for one in x.split(1)])
    torch.testing.assert_close(together, alone)
    assert torch.equal(net(x).logits, together)  # no dropout in eval mode
    assert not torch.equal(net.train()(x).logits, together)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_channels_last_is_kept_and_changes_nothing(dim: int, residual: bool) -> None:
    torch.manual_seed(0)
    net = networks.build("unet", dim=dim, in_channels=1, classes=2, features=(4, 8), residual=residual)
    x = torch.randn(2, 1, *(8,) * dim)
    grads = {}
    for form in (torch.contiguous_format, LAST[dim]):
        net.to(memory_format=form).zero_grad()
        out = net(x.contiguous(memory_format=form))
        out.logits.square().mean().backward()
        grads[form] = [p.grad.clone() for p in net.parameters()]
    assert out.features.is_contiguous(memory_format=LAST[dim])
    for a, b in zip(*grads.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_bfloat16_on_the_cpu_is_near_float32() -> None:
    torch.manual_seed(0)
    net = networks.build("unet", dim=3, in_channels=1, classes=2, features=(8, 16, 16))
    net = net.to(memory_format=torch.channels_last_3d)
    x = torch.randn(2, 1, 16, 16, 16).contiguous(memory_format=torch.channels_last_3d)
    exact = net(x).logits
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(x).logits
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < 0.03 * exact.abs().mean()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"strides": ((1, 1),)}, "strides must have 2 stages"),
        ({"strides": ((1, 1, 1), (2, 2, 2))}, "2 axes"),
        ({"strides": ((2, 2), (2, 2))}, "first stride"),
        ({"kernels": ((3, 3), (2, 3))}, "odd"),
        ({"features": (4, 0)}, "positive"),
        ({"up": "cubic"}, "transposed"),
    ],
)
def test_sizes_that_do_not_fit_together(options: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        networks.build("unet", **{"dim": 2, "in_channels": 1, "classes": 2, "features": (4, 8), **options})


def test_a_patch_that_leaves_one_voxel_is_refused() -> None:
    net = networks.build("unet", dim=2, in_channels=1, classes=2, features=(4, 8))
    with pytest.raises(UsageError, match="one voxel"):
        net(torch.randn(1, 1, 2, 2))


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_instance_norm_is_pytorchs(dim: int, batch: int) -> None:
    torch.manual_seed(1)
    x = 3 * torch.randn(batch, 4, *(5, 6, 7)[:dim]) + 1
    weight, bias = torch.rand(4), torch.randn(4)
    wanted = F.instance_norm(x, weight=weight, bias=bias)
    last = x.contiguous(memory_format=LAST[dim])
    torch.testing.assert_close(instance_norm(last, weight, bias), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(instance_norm(x, weight, bias), wanted)
    assert instance_norm(last).is_contiguous(memory_format=LAST[dim])
    assert list(InstanceNorm(4).state_dict()) == ["weight", "bias"]


def test_capacity_of_the_default() -> None:
    """Two 3x3x3 convolutions per stage without bias, affine norms, up-convolutions, one 1x1x1 head."""
    f, k = (16, 32, 64, 128), 27
    norms = 4
    encoder = sum(k * (i * o + o * o) + norms * o for i, o in zip((1, *f), f, strict=False))
    ups = sum(8 * f[i] * f[i - 1] + f[i - 1] for i in (3, 2, 1))
    decoder = sum(k * 3 * f[i] ** 2 + norms * f[i] for i in (2, 1, 0))
    net = networks.build("unet", dim=3, in_channels=1, classes=3, features=f)
    assert sum(math.prod(p.shape) for p in net.parameters()) == encoder + ups + decoder + 3 * 16 + 3
