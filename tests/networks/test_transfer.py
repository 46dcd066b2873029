"""Weights of one network in another: what fits is the same function, what does not is told."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from semiseg.networks.registry import Factory
from semiseg.networks.transfer import Fitted, Learned, Target, fit
from semiseg.preparation.plan import NetworkPlan

FEATURES, STRIDES, KERNELS = (4, 8, 12), ((1, 1, 1), (1, 2, 2), (2, 2, 2)), ((1, 3, 3), (3, 3, 3), (3, 3, 3))


def network(
    *,
    channels: int = 2,
    classes: int = 3,
    features: tuple[int, ...] = FEATURES,
    turn: bool = False,
    **options,
) -> torch.nn.Module:
    """Axes in the order slices, rows, columns; with ``turn`` columns, rows, slices."""
    sizes = [[tuple(reversed(v)) if turn else v for v in part] for part in (STRIDES, KERNELS)]
    plan = NetworkPlan(features=features, strides=tuple(sizes[0]), kernels=tuple(sizes[1]))
    net = Factory("unet", 3, channels, classes, options=options, plan=plan, patch=(8, 8, 8))()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


def target(net: torch.nn.Module, classes: str = "- a b", channels: str = "T1 T2", axes=(2, 1, 0)) -> Target:
    return Target(net, classes.split(), channels.split(), axes)


def learned(net: torch.nn.Module, classes: str = "- a b", channels: str = "T1 T2", axes=(2, 1, 0)) -> Learned:
    return Learned(net.state_dict(), classes.split(), channels.split(), axes)


def moved(source: Learned, to: Target) -> Fitted:
    fitted = fit(source, to)
    fitted.apply(to.network)
    return fitted


def answer(net: torch.nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).logits


def image(channels: int = 2) -> Tensor:
    return torch.randn(1, channels, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_rows_follow_the_names_of_classes() -> None:
    one, other = network(), network()
    fitted = moved(learned(one), target(other, "- b new"))
    assert fitted.misfits == ("head starts fresh: rows of new",)
    assert 0.9 < fitted.share < 1
    answers = [answer(net, image()) for net in (one, other)]
    torch.testing.assert_close(answers[1][:, :2], answers[0][:, [0, 2]])
    again = network()
    assert moved(learned(one), target(again)).share == 1
    torch.testing.assert_close(answer(again, image()), answers[0])


def test_kernels_follow_the_names_of_channels_or_are_their_mean() -> None:
    one, x = network(), image()
    turned = network()
    moved(learned(one), target(turned, channels="T2 T1"))
    torch.testing.assert_close(answer(turned, x[:, [1, 0]]), answer(one, x))
    single = network(channels=1)
    assert moved(learned(one), target(single, channels="CT")).share == 1
    same = x[:, :1].expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(answer(single, x[:, :1]), answer(one, same))
    several = network(channels=4)
    assert moved(learned(one), target(several, channels="A B C D")).share == 1
    torch.testing.assert_close(answer(several, x[:, :1].expand(-1, 4, -1, -1, -1)), answer(one, same))


def test_kernels_are_turned_to_the_axes_of_the_network() -> None:
    one, other, x = network(), network(turn=True), image()
    assert moved(learned(one), target(other, axes=(0, 1, 2))).share == 1
    swapped = answer(other, x.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
    torch.testing.assert_close(swapped, answer(one, x), atol=1e-5, rtol=1e-4)


def as_nnunet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of our U-Net under nnU-Net's names, with the doubles and biases that it has beside."""
    found = {}
    for key, tensor in state.items():
        name = re.sub(r"^encoder\.(\d+)\.", r"encoder.stages.\1.0.", key)
        name = re.sub(r"^decoder\.(\d+)\.", r"decoder.stages.\1.", name)
        name = name.replace("first.", "convs.0.").replace("second.", "convs.1.")
        name = re.sub(r"^ups\.(\d+)\.conv", r"decoder.transpconvs.\1", name)
        name = name.replace("head.", "decoder.seg_layers.1.")
        found[name] = tensor
        if ".convs." in name:
            found[name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")] = tensor
            found[name.replace(".norm.", ".conv.").replace("weight", "bias")] = tensor[:1]
        if name.startswith("encoder"):
            found[f"decoder.{name}"] = tensor
    return found | {"decoder.seg_layers.0.weight": torch.zeros(3, 8, 1, 1, 1)}


def test_a_u_net_of_nnunet_is_the_same_function() -> None:
    one, other = network(), network()
    known = Learned(as_nnunet(one.state_dict()), ("-", "a", "b"), ("T1", "T2"), (2, 1, 0))
    fitted = moved(known, target(other))
    assert (fitted.share, fitted.misfits) == (1, ())
    torch.testing.assert_close(answer(other, image()), answer(one, image()))


def test_the_real_u_nets_of_nnunet() -> None:
    nets = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    one = nets.PlainConvUNet(
        2, 3, FEATURES, torch.nn.Conv3d, KERNELS, STRIDES, [2] * 3, 3, [2] * 2, True, torch.nn.InstanceNorm3d,
        {"eps": 1e-5, "affine": True}, None, None, torch.nn.LeakyReLU, {"inplace": True}, False,
    ).eval()  # fmt: skip
    other = network()
    assert moved(Learned(one.state_dict(), ("-", "a", "b")), target(other)).share == 1
    with torch.no_grad():
        torch.testing.assert_close(answer(other, image()), one(image()), atol=1e-5, rtol=1e-4)


def test_a_residual_encoder_pools_and_projects_as_its_kernel_does() -> None:
    net = network(residual=True)
    skip = torch.randn(8, 4, 1, 1, 1)
    fitted = fit(Learned({"encoder.stages.1.blocks.0.skip.1.conv.weight": skip}), target(net))
    kernel = fitted.weights["encoder.1.project.conv.weight"]
    x = image(4)
    pooled = torch.nn.functional.avg_pool3d(x, (1, 2, 2))
    wanted = torch.nn.functional.conv3d(pooled, skip)
    torch.testing.assert_close(torch.nn.functional.conv3d(x, kernel, stride=(1, 2, 2)), wanted)


def of_nnssl() -> dict[str, Tensor]:
    """The tensors of a residual encoder of nnssl, named as in its checkpoints: aliases, biases, a decoder."""
    draw = torch.Generator().manual_seed(1)
    found: dict[str, Tensor] = {}

    def layer(name: str, i: int, o: int, edge: int = 3) -> None:
        found[f"{name}.conv.weight"] = torch.randn(o, i, *(edge,) * 3, generator=draw) * 0.1
        found[f"{name}.norm.weight"], found[f"{name}.norm.bias"] = (
            torch.rand(o, generator=draw) for _ in range(2)
        )
        found[f"{name}.conv.bias"] = torch.zeros(o)
        found[f"{name}.all_modules.0.weight"] = found[f"{name}.conv.weight"]
        found[f"{name}.all_modules.1.weight"] = found[f"{name}.norm.weight"]

    layer("encoder.stem.convs.0", 1, 4)
    for stage, (i, o, blocks) in enumerate(((4, 4, 1), (4, 8, 3), (8, 8, 2))):
        for block in range(blocks):
            layer(f"encoder.stages.{stage}.blocks.{block}.conv1", o if block else i, o)
            layer(f"encoder.stages.{stage}.blocks.{block}.conv2", o, o)
        if i != o:
            layer(f"encoder.stages.{stage}.blocks.0.skip.1", i, o, 1)
    for name in list(found):
        found[f"decoder.{name}"] = found[name]
    found["decoder.transpconvs.0.weight"] = torch.randn(8, 8, 2, 2, 2, generator=draw)
    found["decoder.transpconvs.0.bias"] = torch.zeros(8)
    layer("decoder.stages.0.convs.0", 16, 8)
    found["decoder.transpconvs.1.weight"] = torch.randn(8, 4, 2, 2, 2, generator=draw)
    found["decoder.transpconvs.1.bias"] = torch.zeros(4)
    layer("decoder.stages.1.convs.0", 8, 4)
    found["decoder.seg_layers.1.weight"], found["decoder.seg_layers.1.bias"] = (
        torch.zeros(1, 4, 1, 1, 1),
        None,
    )
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def resenc(channels: int = 1, classes: int = 3) -> torch.nn.Module:
    plan = NetworkPlan(features=(4, 8, 8))
    return Factory(
        "resenc", 3, channels, classes, options={"blocks": (1, 3, 2)}, plan=plan, patch=(8, 8, 8)
    )()


def test_a_published_residual_encoder_fits_whole() -> None:
    given, net = of_nnssl(), resenc()
    fitted = moved(Learned(given), target(net, channels="MRI"))
    assert fitted.misfits == ("head starts fresh: the file has other classes",)
    state = net.state_dict()
    for name, tensor in state.items():
        if not name.startswith("head"):
            assert torch.equal(tensor, given[name]), name
    two = resenc(channels=2)
    moved(Learned(given), target(two, channels="T1 T2"))
    x = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for one, other in zip(
            net.eval().encode(x), two.eval().encode(x.expand(-1, 2, -1, -1, -1)), strict=True
        ):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_real_residual_encoder_is_the_same_function() -> None:
    nets = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    one = nets.ResidualEncoderUNet(
        1, 3, (4, 8, 8), torch.nn.Conv3d, 3, (1, 2, 2), (1, 3, 2), 3, (1, 1), True, torch.nn.InstanceNorm3d,
        {"eps": 1e-5, "affine": True}, None, None, torch.nn.LeakyReLU, {"inplace": True}, False,
    ).eval()  # fmt: skip
    other = resenc().eval()
    fitted = moved(Learned(one.state_dict(), ("-", "a", "b")), target(other, channels="MRI"))
    assert (fitted.share, fitted.misfits) == (1, ())
    with torch.no_grad():
        x = torch.randn(1, 1, 8, 8, 8)
        torch.testing.assert_close(answer(other, x), one(x), atol=1e-5, rtol=1e-4)


def test_layers_of_other_sizes_start_fresh_and_are_named() -> None:
    before = network(features=(4, 8, 16))
    state = {k: v.clone() for k, v in before.state_dict().items()}
    fitted = moved(learned(network()), target(before))
    assert (
        "encoder.2.first starts fresh: 12 x 8 x 3 x 3 x 3 in the file, 16 x 8 x 3 x 3 x 3 here"
        in fitted.misfits
    )
    assert 0.1 < fitted.share < 0.6
    changed = {k for k, v in before.state_dict().items() if not torch.equal(v, state[k])}
    assert changed == {*fitted.weights, *fitted.rows}
    assert fit(Learned({"other.weight": torch.zeros(3)}), target(before)).weights == {}
