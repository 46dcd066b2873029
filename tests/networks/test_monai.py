"""Any network of MONAI behind the same contract."""

from __future__ import annotations

import copy

import pytest
import torch

from semiseg import networks
from semiseg.errors import UsageError
from semiseg.preparation.plan import NetworkPlan

MAKE = {"in_channels": 2, "classes": 3}
pytestmark = pytest.mark.usefixtures("monai")
SMALL = NetworkPlan(
    features=(4, 8, 8),
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(
    ("name", "options", "divisor"),
    [
        ("SegResNet", {}, 8),
        ("UNet", {"channels": (4, 8, 8), "strides": (2, 2)}, 4),
        ("DynUNet", {"filters": (4, 8, 8, 8)}, 8),
        ("DynUNet", {"filters": (4, 8, 8, 8), "deep_supervision": True}, 8),
        ("SegResNetDS", {"dsdepth": 2}, 8),
        ("AttentionUnet", {"channels": (4, 8), "strides": (2,)}, 2),
    ],
)
def test_same_form_in_train_mode(name: str, options: dict[str, object], divisor: int, dim: int) -> None:
    net = networks.build(f"monai:{name}", dim=dim, **MAKE, heads={"sdf": 2}, **options)
    assert net.divisor == (divisor,) * dim
    size = tuple(2 * d for d in net.divisor)
    out = net.train()(torch.randn(2, 2, *size))
    assert out.logits.shape == (2, 3, *size)
    assert out.features is not None
    assert out.features.shape[2:] == size
    assert out.heads["sdf"].shape == (2, 2, *size)
    (out.logits.mean() + out.heads["sdf"].mean()).backward()
    assert all(p.grad is not None for p in net.heads.parameters())


@pytest.mark.parametrize(
    ("name", "options", "widths"),
    [
        ("SegResNet", {}, (32, 8)),  # after the convolution that halves the channels for up-sampling
        (
            "UNet",
            {"channels": (4, 8, 8), "strides": (2, 2)},
            (16, 8),
        ),  # the skip and the bottom, concatenated
        ("DynUNet", {"filters": (4, 8, 8, 16)}, (16, 4)),
        ("AttentionUnet", {"channels": (4, 8), "strides": (2,)}, (8, 4)),
        ("FlexibleUNet", {"backbone": "efficientnet-b0"}, (160, 16)),  # global pooling is no bottleneck
    ],
)
def test_two_levels(name: str, options: dict[str, object], widths: tuple[int, ...]) -> None:
    net = networks.build(f"monai:{name}", dim=2, **MAKE, **options)
    out = net(torch.randn(2, 2, 64, 64))
    assert net.widths == widths
    assert tuple(level.shape[1] for level in out.levels) == widths
    assert out.levels[-1] is out.features
    assert max(out.levels[0].shape[2:]) <= 64 // net.divisor[0]
    assert min(out.levels[0].shape[2:]) > 1
    gradient = torch.autograd.grad(out.logits.square().mean(), out.levels[0])[0]
    assert gradient.abs().sum() > 0


def test_logits_are_those_of_the_network_itself() -> None:
    net = networks.build("monai:SegResNet", dim=2, **MAKE).eval()
    x = torch.randn(1, 2, 16, 16)
    assert torch.equal(net(x).logits, net.net(x))
    assert dict(net(x).heads) == {}
    assert all(key.startswith("net.") for key in net.state_dict())


def test_the_features_make_the_logits() -> None:
    net = networks.build("monai:DynUNet", dim=2, **MAKE, filters=(4, 8, 8, 8)).eval()
    out = net(torch.randn(1, 2, 16, 16))
    again = net.net.output_block(out.features)
    torch.testing.assert_close(again, out.logits)


def test_the_plan_sizes_what_demands_a_size() -> None:
    net = networks.build("monai:DynUNet", dim=3, **MAKE, plan=SMALL)
    assert net.divisor == (2, 4, 4)
    assert net.net.input_block.conv1.conv.kernel_size == (1, 3, 3)
    unet = networks.build("monai:UNet", dim=3, **MAKE, plan=SMALL)
    assert unet.net.channels == (4, 8, 8)
    assert unet.divisor == (2, 4, 4)


def test_a_copy_has_its_own_features() -> None:
    """A teacher is a deep copy of the student; the hook must follow."""
    student = networks.build("monai:SegResNet", dim=2, **MAKE, heads={"sdf": 1}).eval()
    teacher = copy.deepcopy(student)
    x = torch.randn(1, 2, 16, 16)
    before = student(x)
    with torch.no_grad():
        for p in teacher.parameters():
            p.mul_(0.5)
    assert not torch.equal(teacher(x).features, before.features)
    assert torch.equal(student(x).features, before.features)
    assert torch.equal(student(x).levels[0], before.levels[0])
    assert not torch.equal(teacher(x).levels[0], before.levels[0])


def test_fixed_input_size() -> None:
    net = networks.build("monai:SegResNetVAE", dim=2, **MAKE, input_image_size=(32, 48))
    assert net.divisor == (32, 48)
    assert net(torch.randn(1, 2, 32, 48)).logits.shape == (1, 3, 32, 48)
    with pytest.raises(UsageError) as caught:
        net(torch.randn(1, 2, 32, 40))
    assert "32x48" in (caught.value.hint or "")


def test_mistakes_are_told_with_the_signature() -> None:
    with pytest.raises(UsageError, match="Did you mean 'monai:SegResNet'"):
        networks.build("monai:SegResnet", dim=3, **MAKE)
    with pytest.raises(UsageError, match="Did you mean 'init_filters'") as caught:
        networks.build("monai:SegResNet", dim=3, **MAKE, init_filter=8)
    assert "dropout_prob=None" in (caught.value.hint or "")
    with pytest.raises(UsageError, match=r"also needs .* backbone"):
        networks.build("monai:FlexibleUNet", dim=3, **MAKE)
    with pytest.raises(UsageError, match="cannot be built"):
        networks.build("monai:SegResNet", dim=3, **MAKE, upsample_mode="none")
    with pytest.raises(UsageError, match="divisible by 8x8"):
        networks.build("monai:SegResNet", dim=2, **MAKE)(torch.randn(1, 2, 16, 20))
