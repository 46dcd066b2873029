"""What the published V-Nets and U-Nets promise beyond their golden vectors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import networks
from semiseg.errors import UsageError

MAKE = {"dim": 3, "in_channels": 1, "classes": 2}


@given(multiples=st.lists(st.integers(1, 3), min_size=2, max_size=3))
@settings(max_examples=8, deadline=None)
def test_vnet_keeps_every_size_divisible_by_16(multiples: list[int]) -> None:
    dim, size = len(multiples), tuple(16 * m for m in multiples)
    net = networks.build("vnet", dim=dim, in_channels=1, classes=2, filters=2).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 1, *size)).logits.shape == (1, 2, *size)


def test_dropout_can_be_turned_off_for_one_call() -> None:
    torch.manual_seed(0)
    net = networks.build("vnet", **MAKE, filters=4).train()
    x = torch.randn(2, 1, 16, 16, 16)
    assert torch.equal(net(x, dropout=False).logits, net(x, dropout=False).logits)
    assert not torch.equal(net(x).logits, net(x).logits)
    without = networks.build("vnet", **MAKE, filters=4, has_dropout=False)
    assert list(without.state_dict()) == list(net.state_dict())
    without.load_state_dict(net.state_dict())
    assert torch.equal(without.train()(x).logits, net(x, dropout=False).logits)


def test_dropout_is_channel_wise_at_two_places() -> None:
    torch.manual_seed(0)
    net = networks.build("vnet", **MAKE, filters=8, dropout_rate=0.9).train()
    features = net(torch.randn(2, 1, 16, 16, 16)).features
    dead = (features == 0).flatten(2).all(-1).float().mean()
    assert dead > 0.5
    calls = []
    net.dropout.register_forward_hook(lambda *args: calls.append(args[2].shape[1]))
    net(torch.randn(2, 1, 16, 16, 16))
    assert calls == [128, 8]
    with pytest.raises(UsageError, match="one voxel"):
        net(torch.randn(1, 1, 16, 16, 16))


@pytest.mark.parametrize(("norm", "first_conv_of_three"), [("batch", "3"), ("none", "2"), ("instance", "3")])
def test_numbering_follows_the_norm(norm: str, first_conv_of_three: str) -> None:
    keys = networks.build("vnet", **MAKE, norm=norm).state_dict()
    assert f"block_three.conv.{first_conv_of_three}.weight" in keys
    assert keys[f"block_three.conv.{first_conv_of_three}.weight"].shape == (64, 64, 3, 3, 3)


def test_vnet_refuses_what_it_cannot_be() -> None:
    with pytest.raises(UsageError, match="instance"):
        networks.build("vnet", **MAKE, norm="instanc")
    with pytest.raises(UsageError, match="filters=8"):
        networks.build("vnet", **MAKE, norm="group", filters=8)
    with pytest.raises(UsageError, match="variant"):
        networks.build("vnet2016", **MAKE, variant="papr")
    with pytest.raises(UsageError, match="activation"):
        networks.build("vnet2016", **MAKE, activation="relu")
    with pytest.raises(UsageError, match="5 levels"):
        networks.build("unet2d", **MAKE, dropout=(0.1,))


@pytest.mark.parametrize("variant", ["paper", "mattmacy"])
@pytest.mark.parametrize("channels", [1, 3])
def test_vnet2016_samples_do_not_mix_in_eval_mode(variant: str, channels: int) -> None:
    """The port's faults, mended: no repetition along the batch, running statistics in eval mode."""
    torch.manual_seed(0)
    net = networks.build("vnet2016", dim=2, in_channels=channels, classes=3, variant=variant).eval()
    x = torch.randn(2, channels, 16, 32)
    with torch.no_grad():
        together = net(x).logits
        alone = torch.cat([net(one).logits for one in x.split(1)])
    assert together.shape == (2, 3, 16, 32)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_vnet2016_first_residual_repeats_the_channels() -> None:
    net = networks.build("vnet2016", dim=2, in_channels=3, classes=2)
    for p in net.in_tr.conv1.parameters():
        torch.nn.init.zeros_(p)
    x = torch.rand(2, 3, 16, 16)  # positive, so that the PReLU passes it
    first = net.in_tr(x)
    for c in range(16):
        assert torch.equal(first[:, c], x[:, c % 3])


def test_vnet2016_receptive_field_of_the_paper() -> None:
    """The deepest features of the paper's layout see 372 voxels per axis."""
    seen, jump = 5, 1  # the first stage: one 5^3 convolution
    net = networks.build("vnet2016", dim=2, in_channels=1, classes=2)
    for width in (32, 64, 128, 256):
        stage = getattr(net, f"down_tr{width}")
        seen, jump = seen + jump, 2 * jump
        seen += 4 * jump * len(stage.ops)
    assert seen == 372


@pytest.mark.parametrize("name", ["unet2d", "unet3d"])
@pytest.mark.parametrize("dim", [2, 3])
def test_a_batch_equals_its_samples_in_eval_mode(name: str, dim: int) -> None:
    net = networks.build(name, dim=dim, in_channels=1, classes=4).eval()
    x = torch.randn(2, 1, *(32, 48, 32)[:dim])
    with torch.no_grad():
        together = net(x).logits
        alone = torch.cat([net(one).logits for one in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


def test_unet3d_has_no_batch_statistics_even_in_train_mode() -> None:
    net = networks.build("unet3d", **MAKE, dropout=0.0).train()
    x = torch.randn(2, 1, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(net(x).logits[:1], net(x[:1]).logits, rtol=1e-3, atol=1e-4)
    assert not list(net.buffers())


def test_unet2d_puts_the_skip_first() -> None:
    net = networks.build("unet2d", dim=2, in_channels=1, classes=2)
    up = net.decoder.up4
    torch.nn.init.zeros_(up.conv1x1.weight)
    torch.nn.init.zeros_(up.conv1x1.bias)
    got = []
    up.conv.register_forward_pre_hook(lambda _, inputs: got.append(inputs[0]))
    net.eval()(torch.randn(1, 1, 32, 32))
    skip, upsampled = got[0].split(16, dim=1)
    assert skip.abs().sum() > 0
    assert upsampled.abs().sum() == 0


def test_the_v_net_of_mcf_is_drawn_from_a_normal_distribution():
    """Fan-in and a gain of the root of two: each kernel's deviation is that of He et al."""
    torch.manual_seed(0)
    made = networks.build("vnet", dim=3, in_channels=1, classes=2, init="kaiming")
    weights = [m.weight for m in made.modules() if isinstance(m, torch.nn.Conv3d | torch.nn.ConvTranspose3d)]
    for weight in (w for w in weights if w.numel() > 2000):
        assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.06)
    with pytest.raises(UsageError, match="unknown init"):
        networks.build("vnet", dim=3, in_channels=1, classes=2, init="kaimin")
