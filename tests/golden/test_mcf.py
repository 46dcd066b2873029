"""MCF against the original script: the partner network, all losses of a step, gradients of both networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers

from semiseg import networks
from semiseg.core import Batch, Clock
from semiseg.methods.mcf import MCF

END = Clock(10, 10)
"""Where the ramp is over, so that the weight is the one that the method was given: the vector's."""


def fill(net: torch.nn.Module, names: list[str]) -> torch.nn.Module:
    """The vector's deterministic weights: a function of each parameter's place in its list of names."""
    parameters = dict(net.named_parameters())
    for i, name in enumerate(names):
        p = parameters[name]
        k = np.arange(p.numel())
        if name.endswith("bias"):
            v = 0.05 * np.cos(0.3 * k + i)
        elif p.ndim == 1:
            v = 1 + 0.1 * np.cos(0.7 * k + i)
        else:
            up = "_up." in name
            fan = p.shape[0] * math.prod(p.shape[2:]) if up else math.prod(p.shape[1:])
            v = np.cos(0.37 * k + k * k % 7 + i) * math.sqrt(2 / fan)
        p.data = torch.from_numpy(v.reshape(tuple(p.shape))).float()
    return net


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def build(name: str, v, **options) -> torch.nn.Module:
    channels, classes = int(v["input_shape"][1]), int(v["n_classes"])
    return networks.build(
        name, dim=len(v["input_shape"]) - 2, in_channels=channels, classes=classes, **options
    )


def test_parameters_of_the_partner(golden):
    v = golden("mcf__resvnet")
    with torch.device("meta"):
        net = build("resvnet", v)
        assert count(build("vnet", v)) == int(v["n_params_vnet"])
    assert count(net) == int(v["n_params_resvnet"])
    assert count(net.resnet_encoder) == int(v["n_params_encoder"])
    shapes = {name: [*p.shape, *[0] * (5 - p.ndim)] for name, p in net.named_parameters()}
    assert shapes == dict(zip(v["names"].tolist(), v["shapes"].tolist(), strict=True))


@torch.no_grad()
def test_answers_of_the_partner(golden):
    v = golden("mcf__resvnet")
    net = fill(build("resvnet", v), v["names"].tolist()).eval()
    k = np.arange(math.prod(v["input_shape"]), dtype=np.float64)
    x = np.sin(0.05 * k + 0.3 * np.cos(0.013 * k)).astype(np.float32)
    np.testing.assert_allclose(x[: len(v["x_first8"])], v["x_first8"], rtol=1e-6)
    x = torch.from_numpy(x.reshape(v["input_shape"]))
    maps = net.encode(x)
    assert [list(m.shape) for m in maps] == v["feat_shapes"].tolist()
    np.testing.assert_allclose([m.mean().item() for m in maps], v["feat_mean"], rtol=1e-3)
    spread = [m.std(correction=0).item() for m in maps]
    np.testing.assert_allclose(spread, v["feat_std"], rtol=1e-2)
    np.testing.assert_allclose(net(x).logits, v["y"], rtol=1e-3, atol=1e-4)


def stepped(v, case: str, **options):
    """The method on the stored logits, and its two updates, back-propagated."""
    n = int(v["labeled_bs"])
    label = torch.from_numpy(v[f"{case}_label"]).long()
    x = torch.zeros((len(label), 1, *label.shape[1:]))
    left = iter([v[f"{case}_v_logits"], v[f"{case}_r_logits"]])
    method = MCF(
        lambda **choice: Answers(next(left)),
        beta=float(v["beta"]),
        temperature=float(v["T"]),
        weight=float(v[f"{case}_consistency_weight"]),
        **options,
    )
    batch = Batch(x[:n], label[:n], {"weak": x[n:]})
    updates = list(method.step(batch, END))
    for update in updates:
        update.loss.backward()
    return method, updates


@pytest.mark.parametrize("case", ["a", "b"])
def test_losses_and_gradients_of_a_step(golden, case):
    v = golden("mcf__step")
    method, updates = stepped(v, case)
    winner = int(v[f"{case}_good_student"])
    for i, (update, key, number) in enumerate(zip(updates, "vr", ["", "2"], strict=True)):
        logs = {name.removesuffix(number): value.item() for name, value in update.logs.items()}
        wanted = {name: float(v[f"{case}_{key}_{name}"]) for name in ("ce", "dice", "rec", "sup", "loss")}
        assert logs["rectification"] == pytest.approx(wanted["rec"], rel=1e-5)
        assert logs["supervised"] == pytest.approx(wanted["sup"], rel=1e-5)
        assert logs["supervised"] - method.beta * wanted["rec"] == pytest.approx(
            wanted["ce"] + wanted["dice"], rel=1e-5
        )
        assert logs["weight"] == pytest.approx(float(v[f"{case}_consistency_weight"]), rel=1e-5)
        assert logs["won"] == (i == winner)
        unsupervised = 0.0 if i == winner else float(v[f"{case}_unsup"])
        assert logs["consistency"] == pytest.approx(unsupervised, rel=1e-5)
        assert update.loss.item() == pytest.approx(wanted["loss"], rel=1e-5)
        gradient = getattr(method, update.on).logits[0].grad
        np.testing.assert_allclose(gradient, v[f"{case}_{key}_grad"], rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("case", ["a", "b"])
def test_where_they_differ_and_what_the_winner_teaches(golden, case):
    v = golden("mcf__step")
    n = int(v["labeled_bs"])
    z = [torch.from_numpy(v[f"{case}_{key}_logits"]) for key in "vr"]
    label = torch.from_numpy(v[f"{case}_label"][:n]).long()
    method, _ = stepped(v, case)
    differ = method.differ(z[0][:n], z[1][:n], label)
    np.testing.assert_array_equal(differ, v[f"{case}_diff_mask"])
    taught = z[int(v[f"{case}_good_student"])][n:]
    np.testing.assert_allclose(method.sharpened(taught), v[f"{case}_pseudo"], rtol=1e-4, atol=1e-6)
