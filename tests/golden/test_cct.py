"""Cross-consistency training against the original script and network."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from tests.golden.branches import check, step
from tests.methods.tiny import TinyNet

from semiseg import networks
from semiseg.losses import softmax_mse
from semiseg.methods.cct import CCT
from semiseg.methods.parts.branches import feature_drop, feature_noise


def method_for(v, **options):
    label = v["label"]
    return CCT(lambda: TinyNet(label.ndim - 1, int(v["n_classes"])), weight=float(v["weight"]), **options)


def test_losses_and_gradients(golden):
    v = golden("cct__losses")
    check(method_for(v), v, {"supervised": v["sup"], "consistency": v["cons"], "weight": v["weight"]})


def test_each_decoder_against_the_main_one(golden):
    v = golden("cct__losses")
    n = int(v["labeled_bs"])
    main, *others = (torch.from_numpy(v[f"logits{i}"][n:]) for i in range(4))
    for i, z in enumerate(others, start=1):
        assert softmax_mse(z, main).item() == pytest.approx(float(v[f"cons_aux{i}"]), rel=1e-5)


def test_the_papers_form_leaves_the_main_decoder_to_the_labels(golden):
    v = golden("cct__losses")
    n = int(v["labeled_bs"])
    method = method_for(v, detach_main=True)
    assert not method.deviations
    assert step(method, v).loss.item() == pytest.approx(float(v["loss"]), rel=1e-5)
    main, *others = method.net.logits
    assert not main.grad[n:].any()
    assert v["grad0"][n:].any()
    np.testing.assert_allclose(main.grad[:n], v["grad0"][:n], rtol=1e-3, atol=2e-8)
    for i, z in enumerate(others, start=1):
        np.testing.assert_allclose(z.grad, v[f"grad{i}"], rtol=1e-3, atol=2e-8)


def test_disturbances(golden):
    v = golden("cct__perturbations")
    x = torch.from_numpy(v["x"])
    dropped = feature_drop(x, share=torch.tensor(float(v["u"])))
    np.testing.assert_array_equal(dropped, v["feature_drop"])
    noisy = feature_noise(x, noise=torch.from_numpy(v["noise"]))
    np.testing.assert_allclose(noisy, v["feature_noise"], rtol=1e-6)


def test_parameters(golden):
    v = golden("extras__params")
    size = {"dim": 2, "in_channels": 1, "classes": int(v["n_classes_2d"])}
    with torch.device("meta"):
        method = CCT(functools.partial(networks.build, "unet2d", **size))
    assert sum(p.numel() for p in method.parameters()) == int(v["ssl_unet_cct"])
    assert sum(p.numel() for p in method.main.parameters()) == int(v["ssl_unet"])
