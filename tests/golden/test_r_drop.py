"""R-Drop against the original script, whose softmax runs along the rows of the image, and as we have it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.ssl4mis import two

from semiseg.methods.r_drop import RDrop


def test_losses_and_gradients_as_released(golden, caplog):
    v = golden("rdrop__losses")
    method, updates = two(RDrop, v, softmax_axis="width")
    assert len(caplog.records) == len(method.deviations) == 1
    total = 0.0
    for i, (update, number) in enumerate(zip(updates, ["", "2"], strict=True), start=1):
        logs = {name: value.item() for name, value in update.logs.items()}
        assert logs[f"supervised{number}"] == pytest.approx(float(v[f"sup{i}"]), rel=1e-5)
        assert logs[f"consistency{number}"] == pytest.approx(float(v["rdrop"]), rel=1e-4)
        assert logs[f"weight{number}"] == pytest.approx(float(v["weight"]), rel=1e-5)
        gradient = getattr(method, update.on).logits[0].grad
        np.testing.assert_allclose(gradient, v[f"grad{i}"], rtol=1e-3, atol=1e-7)
        total += update.loss.item()
    shared = float(v["weight"]) * float(v["rdrop"])  # in the loss of either network
    assert total - shared == pytest.approx(float(v["loss"]), rel=1e-5)


def test_our_default_compares_class_probabilities(golden, caplog):
    v = golden("rdrop__losses")
    _, (first, second) = two(RDrop, v)
    assert not caplog.records
    assert first.logs["consistency"].item() == pytest.approx(float(v["kl_class_axis"]), rel=1e-4)
    assert second.logs["consistency2"].item() == pytest.approx(float(v["kl_class_axis"]), rel=1e-4)
    n, classes = int(v["labeled_bs"]), v["logits1"].shape[1]
    p, q = (torch.from_numpy(v[f"logits{i}"][n:]).double().softmax(1) for i in (1, 2))
    per_voxel = 0.5 * ((p - q) * (p.log() - q.log())).sum(1)
    assert per_voxel.mean().item() / classes == pytest.approx(float(v["kl_class_axis"]), rel=1e-4)
