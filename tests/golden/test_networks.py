"""Parameter counts, names, shapes and forwards against the original authors' networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from semiseg import networks

NORMS = {"batchnorm": "batch", "groupnorm": "group", "instancenorm": "instance", "none": "none"}
FORWARD = {"rtol": 1e-3, "atol": 1e-3}


def fill(net: nn.Module) -> nn.Module:
    """The vectors' deterministic weights: a function of each tensor's rank in the state_dict and its name."""
    state = net.state_dict()
    for k, (name, tensor) in enumerate(state.items()):
        j = np.arange(tensor.numel(), dtype=np.float64)
        v = np.sin(0.7 * j + 1.3 * k) + 0.3 * np.cos(0.11 * j * (k + 1))
        if name.endswith("num_batches_tracked"):
            v = 0 * v
        elif name.endswith("running_mean") or name.endswith("bias"):
            v = 0.05 * v
        elif name.endswith("running_var"):
            v = 1 + 0.2 * v**2
        elif tensor.ndim >= 4:
            v = v / math.sqrt(math.prod(tensor.shape[1:]))
        else:
            v = 1 + 0.1 * v
        state[name] = torch.from_numpy(v.reshape(tuple(tensor.shape))).to(tensor.dtype)
    net.load_state_dict(state)
    return net


def padded_shapes(net: nn.Module, width: int) -> np.ndarray:
    return np.array([[*t.shape, *[-1] * (width - t.ndim)] for t in net.state_dict().values()])


def check_layout(net: nn.Module, vector: dict[str, np.ndarray], prefix: str = "") -> None:
    """Everything of a layout that the vector holds."""
    parameters, buffers = list(net.parameters()), list(net.buffers())
    assert sum(p.numel() for p in parameters) == int(vector[f"{prefix}n_params"])
    if f"{prefix}n_trainable_tensors" in vector:
        assert len(parameters) == int(vector[f"{prefix}n_trainable_tensors"])
        assert sum(b.numel() for b in buffers) == int(vector[f"{prefix}n_buffers_elems"])
    if f"{prefix}names" in vector:
        assert list(net.state_dict()) == list(vector[f"{prefix}names"])
        shapes = vector[f"{prefix}shapes"]
        np.testing.assert_array_equal(padded_shapes(net, shapes.shape[1]), shapes)
        trained = dict(net.named_parameters())
        np.testing.assert_array_equal(
            [n not in trained for n in net.state_dict()], vector[f"{prefix}is_buffer"]
        )


def variants(vector: dict[str, np.ndarray]) -> list[str]:
    found = sorted({key.split("__")[0] for key in vector if key.startswith("variant")})
    assert found
    return found


def close(tensor: torch.Tensor, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(tensor.detach().numpy(), wanted, **FORWARD)


def check_maps(maps: list[torch.Tensor], vector: dict[str, np.ndarray]) -> None:
    for i, m in enumerate(maps):
        assert list(m.shape) == vector[f"feat{i}_shape"].tolist()
        mean_std = [m.double().mean().item(), m.double().std(correction=0).item()]
        np.testing.assert_allclose(mean_std, vector[f"feat{i}_meanstd"], rtol=5e-3, atol=1e-3)


def test_vnet_shapes(golden) -> None:
    vector = golden("vnet__shapes")
    for prefix in variants(vector):
        channels, classes, filters = vector[f"{prefix}__cfg"].tolist()
        norm = NORMS[str(vector[f"{prefix}__norm"])]
        net = networks.build(
            "vnet", dim=3, in_channels=channels, classes=classes, filters=filters, norm=norm, has_dropout=True
        )
        check_layout(net, vector, f"{prefix}__")


def test_vnet_forward(golden) -> None:
    vector = golden("vnet__forward")
    x = torch.from_numpy(vector["x"])
    classes = int(vector["n_classes"])
    net = fill(networks.build("vnet", dim=3, in_channels=x.shape[1], classes=classes)).eval()
    with torch.no_grad():
        logits = net(x).logits
        check_maps(net.encode(x), vector)
        close(logits[:, :, ::2, ::2, ::2], vector["eval_logits_s2"])
        np.testing.assert_allclose(logits.double().sum().item(), float(vector["eval_sum"]), rtol=1e-3)
        np.testing.assert_allclose(
            logits.double().abs().sum().item(), float(vector["eval_abs_sum"]), rtol=1e-3
        )
        logits = net.train()(x, dropout=False).logits
    close(logits[:, :, ::2, ::2, ::2], vector["train_logits_s2"])
    np.testing.assert_allclose(logits.double().sum().item(), float(vector["train_sum"]), rtol=1e-3)
    np.testing.assert_allclose(logits.double().abs().sum().item(), float(vector["train_abs_sum"]), rtol=1e-3)
    moved = [key for key in vector if key.startswith("after__")]
    assert moved
    for key in moved:
        close(net.state_dict()[key.removeprefix("after__")], vector[key])


def test_mattmacy_shapes(golden) -> None:
    vector = golden("vnet__mattmacy_shapes")
    build = {"dim": 3, "in_channels": 1, "classes": 2, "variant": "mattmacy"}
    net = networks.build("vnet2016", **build)
    check_layout(net, vector)
    elu = networks.build("vnet2016", **build, activation="elu")
    assert sum(p.numel() for p in net.parameters()) == int(vector["n_params_elu0"])
    assert sum(p.numel() for p in elu.parameters()) == int(vector["n_params_elu1"])


def test_unet2d_shapes(golden) -> None:
    vector = golden("unet2d__shapes")
    for prefix in variants(vector):
        channels, classes = vector[f"{prefix}__cfg"].tolist()
        net = networks.build("unet2d", dim=2, in_channels=channels, classes=classes)
        check_layout(net, vector, f"{prefix}__")
        if f"{prefix}__dropout_p" in vector:
            rates = [m.p for m in net.modules() if isinstance(m, nn.Dropout)]
            np.testing.assert_allclose(rates, vector[f"{prefix}__dropout_p"])
            slopes = {m.negative_slope for m in net.modules() if isinstance(m, nn.LeakyReLU)}
            assert slopes == {float(vector[f"{prefix}__leaky_slope"])}


def test_unet2d_forward(golden) -> None:
    vector = golden("unet2d__forward")
    x = torch.from_numpy(vector["x"])
    net = networks.build(
        "unet2d", dim=2, in_channels=x.shape[1], classes=int(vector["class_num"]), dropout=(0.0,) * 5
    )
    fill(net).eval()
    with torch.no_grad():
        close(net(x).logits, vector["eval_logits"])
        check_maps(net.encode(x), vector)
        close(net.train()(x).logits, vector["train_logits"])


def test_unet3d_shapes_and_forward(golden) -> None:
    vector = golden("unet2d__unet3d_shapes")
    channels, classes = vector["cfg"].tolist()
    net = networks.build("unet3d", dim=3, in_channels=channels, classes=classes)
    check_layout(net, vector)
    with torch.no_grad():
        close(fill(net).eval()(torch.from_numpy(vector["x"])).logits, vector["eval_logits"])


def test_denseunet_shapes(golden) -> None:
    vector = golden("tcsm__denseunet_shapes")
    with torch.device("meta"):
        x = torch.empty(1, vector["shapes"][0][1], *vector["out_shape"][2:])
        net = networks.build("denseunet", dim=2, in_channels=x.shape[1], classes=int(vector["out_shape"][1]))
        check_layout(net, vector)
        counts = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
        wanted = zip(vector["block_names"].tolist(), vector["block_params"].tolist(), strict=True)
        assert {name: count for name, count in counts.items() if count} == dict(wanted)
        *skips, deepest = net.encode(x)
        assert [list(skip.shape) for skip in skips] == vector["skip_shapes"].tolist()
        out = net(x)
    assert deepest.shape[1] == net.widths[0]
    assert list(out.logits.shape) == vector["out_shape"].tolist()


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("vnet", {"in_channels": 2, "classes": 3}, 9_449_315),
        ("vnet", {"in_channels": 1, "classes": 14}, 9_449_070),
        ("vnet", {"in_channels": 1, "classes": 2, "filters": 8}, 2_364_434),
        ("vnet2016", {"in_channels": 1, "classes": 2}, 65_175_314),
        ("unet2d", {"in_channels": 1, "classes": 9, "dim": 2}, 1_814_489),
        ("unet3d", {"in_channels": 2, "classes": 4}, 5_884_516),
        ("denseunet", {"in_channels": 3, "classes": 2, "dim": 2}, 49_527_778),
    ],
)
def test_counts_of_other_settings(name: str, options: dict[str, int], count: int) -> None:
    with torch.device("meta"):
        net = networks.build(name, **{"dim": 3, **options})
    assert sum(p.numel() for p in net.parameters()) == count
