"""The encoder against MONAI's DenseNet; the decoder's sums, modes and first weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from semiseg import networks
from semiseg.errors import UsageError

SIZES = {"growth": 2, "blocks": (1, 2, 3, 1), "stem": 6}


def build(dim: int, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return networks.build("denseunet", dim=dim, in_channels=2, classes=3, **{**SIZES, **options})


@pytest.mark.usefixtures("monai")
@pytest.mark.parametrize("dim", [2, 3])
def test_the_encoder_is_a_densenet(dim: int) -> None:
    from monai.networks.nets import DenseNet

    ours = build(dim).eval()
    theirs = DenseNet(
        dim, 2, 3, init_features=SIZES["stem"], growth_rate=SIZES["growth"], block_config=SIZES["blocks"]
    ).eval()
    renamed = {k.replace("layers.", ""): v for k, v in theirs.features.state_dict().items()}
    ours.rn.load_state_dict(renamed)
    x = torch.randn(2, 2, *[64] * dim)
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(x)[-1], F.relu(theirs.features(x)))


@pytest.mark.parametrize("dim", [2, 3])
def test_skips_are_added_to_the_doubled_map(dim: int) -> None:
    net = build(dim).eval()
    x = torch.randn(1, 2, *[64] * dim)
    *skips, deepest = net.encode(x)
    seen: list[torch.Tensor] = []
    for up in (net.up1, net.up2):
        up.x_conv.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    levels = net(x).levels
    mode = "bilinear" if dim == 2 else "trilinear"
    for found, below, skip in (
        (seen[0], deepest, net.up1.x_conv_(skips[3])),
        (seen[1], levels[1], skips[2]),
    ):
        doubled = F.interpolate(below, scale_factor=2.0, mode=mode, align_corners=True)
        torch.testing.assert_close(found, doubled + skip)


def test_dropout_is_on_in_training_only() -> None:
    net, x = build(2), torch.randn(2, 2, 64, 64)
    assert not torch.equal(net(x).logits, net(x).logits)
    net.eval()
    assert torch.equal(net(x).logits, net(x).logits)
    still = build(2, dropout=0.0, last_dropout=0.0)
    assert torch.equal(still(x).logits, still(x).logits)


def test_first_weights() -> None:
    net = build(2, stem=64)
    weight = net.up4.x_conv.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 2 * 64)) ** 0.5, rel=0.05)
    assert net.up4.x_conv.bias.abs().max() == 0
    assert net.rn.conv0.weight.std().item() == pytest.approx((2 / (49 * 2)) ** 0.5, rel=0.05)


def test_wrong_options() -> None:
    for options in ({"blocks": (1, 2)}, {"growth": 0}, {"dropout": 2.0}):
        with pytest.raises(UsageError):
            build(2, **options)
