"""Uncertainty rectified pyramid consistency against the original script and networks."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from tests.golden.branches import check
from tests.methods.tiny import TinyNet

from semiseg import networks
from semiseg.methods.urpc import URPC, divergence_from_mean, pyramid_consistency

SCALES = ("main", "aux1", "aux2", "aux3")


def test_losses_and_gradients(golden):
    v = golden("urpc__losses")
    method = URPC(lambda: TinyNet(v["label"].ndim - 1, int(v["n_classes"])), weight=float(v["weight"]))
    check(method, v, {"supervised": v["sup"], "consistency": v["cons"], "weight": v["weight"]})


def test_each_scale(golden):
    v = golden("urpc__losses")
    logits = [torch.from_numpy(v[f"logits{i}"]) for i in range(len(SCALES))]
    _, _, mean = divergence_from_mean(logits)
    np.testing.assert_allclose(mean, v["preds"], rtol=1e-5)
    unlabeled = [z[int(v["labeled_bs"]) :] for z in logits]
    divergence, _, _ = divergence_from_mean(unlabeled)
    consistency = pyramid_consistency(unlabeled)
    for i, name in enumerate(SCALES):
        np.testing.assert_allclose(divergence[i], v[f"variance_{name}"], rtol=1e-4, atol=1e-6)
        key = "consistency_loss_main" if name == "main" else f"cons_{name}"
        assert consistency[i].item() == pytest.approx(float(v[key]), rel=1e-5)


@pytest.mark.parametrize(("network", "dim"), [("unet2d", 2), ("unet3d", 3)])
def test_parameters(golden, network, dim):
    v = golden("extras__params")
    classes = int(v[f"n_classes_{dim}d"])
    with torch.device("meta"):
        method = URPC(functools.partial(networks.build, network, dim=dim, in_channels=1, classes=classes))
    found = sum(p.numel() for p in method.parameters())
    if dim == 2:  # the original has a 3x3 head on the bottleneck that it never uses
        found += method.main.widths[0] * 9 * classes + classes
        assert found == int(v["ssl_unet_urpc"]) == int(v["ssl_unet_ds"])
    else:
        assert found == int(v["ssl_unet3d_urpc"])
