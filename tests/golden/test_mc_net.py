"""MC-Net against the original scripts and networks."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
import torch
from tests.golden.branches import check, step
from tests.methods.tiny import TinyNet

from semiseg import networks
from semiseg.losses import sharpen
from semiseg.methods.mc_net import MCNet

DICE = {"mcnet__losses_2d": "acdc_released", "mcnet__losses_3d": "la"}
files = pytest.mark.parametrize("name", DICE)


def temperature_of(v):
    """It is in the vector's words only."""
    found = re.search(r"\bT\s*=\s*([\d.]*\d)", str(v["doc"]))
    return float(found[1]) if found else 0.1


def method_for(v, **options):
    label, classes = v["label"], v["logits0"].shape[1]
    return MCNet(
        lambda: TinyNet(label.ndim - 1, classes),
        weight=float(v["weight"]),
        dice_weight=float(v["lamda"]),
        temperature=temperature_of(v),
        **options,
    )


@files
def test_losses_and_gradients(golden, name):
    v = golden(name)
    method = method_for(v, dice=DICE[name])
    assert len(method.deviations) == (DICE[name] == "acdc_released")
    sup = float(v["lamda"]) * v["sup"]
    check(method, v, {"supervised": sup, "consistency": v["cons"], "weight": v["weight"]})


@files
def test_sharpening(golden, name):
    v = golden(name)
    for i in range(int(v["n_outputs"])):
        z = torch.from_numpy(v[f"logits{i}"])
        got = sharpen(z, temperature=temperature_of(v), form="elements")
        np.testing.assert_allclose(got, v["sharpened"][i], rtol=1e-3, atol=1e-6)


@files
def test_the_mended_forms(golden, name):
    v = golden(name)
    released = method_for(v, dice=DICE[name])
    assert not method_for(v, dice=DICE[name].removesuffix("_released")).deviations
    ours = method_for(v, dice=DICE[name].removesuffix("_released"), sharpening="classes")
    assert len(ours.deviations) == 1
    theirs, mine = (step(method, v).logs for method in (released, ours))
    count, a = int(v["n_outputs"]), float(v["lamda"])
    classes = v["logits0"].shape[1]
    if DICE[name] == "acdc_released":  # 1 - x / 2 became 1 - x
        doubled = 2 * theirs["supervised"] - a * count
        assert mine["supervised"].item() == pytest.approx(doubled.item(), rel=1e-5)
    if classes == 2:
        torch.testing.assert_close(mine["consistency"], theirs["consistency"], rtol=1e-4, atol=1e-6)
    else:
        assert not torch.isclose(mine["consistency"], theirs["consistency"], rtol=1e-3)


@pytest.mark.parametrize(
    ("network", "dim", "decoders", "key"),
    [
        ("unet2d", 2, 2, "mc2d_v1"),
        ("unet2d", 2, 3, "mc2d_v2"),
        ("unet2d", 2, 4, "mc2d_v3"),
        ("vnet", 3, 2, "mc3d_v1"),
        ("vnet", 3, 3, "mc3d_v2"),
    ],
)
def test_parameters(golden, network, dim, decoders, key):
    v = golden("extras__params")
    size = {"dim": dim, "in_channels": 1, "classes": int(v[f"n_classes_{dim}d"])}
    with torch.device("meta"):
        method = MCNet(functools.partial(networks.build, network, **size), decoders=decoders)
    assert sum(p.numel() for p in method.parameters()) == int(v[key])
    plain = {"unet2d": "mc2d_unet", "vnet": "mc3d_vnet"}[network]
    assert sum(p.numel() for p in method.main.parameters()) == int(v[plain])
