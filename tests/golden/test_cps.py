"""Cross pseudo supervision against the original script: losses, pseudo-labels, gradients of both networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.ssl4mis import two

from semiseg.losses import cross_entropy
from semiseg.methods.cps import CPS


def test_losses_and_gradients(golden):
    v = golden("cps__losses")
    method, updates = two(CPS, v)
    assert [update.on for update in updates] == ["net", "net2"]
    for i, (update, number) in enumerate(zip(updates, ["", "2"], strict=True), start=1):
        logs = {name: value.item() for name, value in update.logs.items()}
        assert logs[f"supervised{number}"] == pytest.approx(float(v[f"sup{i}"]), rel=1e-5)
        assert logs[f"consistency{number}"] == pytest.approx(float(v[f"pse{i}"]), rel=1e-5)
        assert logs[f"weight{number}"] == pytest.approx(float(v["weight"]), rel=1e-5)
        gradient = getattr(method, update.on).logits[0].grad
        np.testing.assert_allclose(gradient, v[f"grad{i}"], rtol=1e-3, atol=1e-8)
    assert sum(update.loss.item() for update in updates) == pytest.approx(float(v["loss"]), rel=1e-5)


def test_each_learns_the_classes_of_the_other(golden):
    v = golden("cps__losses")
    n = int(v["labeled_bs"])
    for mine, other in [(1, 2), (2, 1)]:
        z = torch.from_numpy(v[f"logits{mine}"][n:])
        pseudo = torch.from_numpy(v[f"pseudo{other}"]).long()
        assert torch.equal(torch.from_numpy(v[f"logits{other}"][n:]).argmax(1), pseudo)
        assert cross_entropy(z, pseudo).item() == pytest.approx(float(v[f"pse{mine}"]), rel=1e-5)
