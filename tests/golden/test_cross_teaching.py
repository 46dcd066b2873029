"""Cross teaching against the original script: losses, gradients; the transformer is not the original's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.golden.ssl4mis import two

from semiseg import networks
from semiseg.methods.cross_teaching import CrossTeaching


def test_losses_and_gradients(golden):
    v = golden("ctct__losses")
    method, updates = two(CrossTeaching, v)
    assert [update.on for update in updates] == ["net", "net2"]
    for i, (update, number) in enumerate(zip(updates, ["", "2"], strict=True), start=1):
        logs = {name: value.item() for name, value in update.logs.items()}
        assert logs[f"supervised{number}"] == pytest.approx(float(v[f"sup{i}"]), rel=1e-5)
        assert logs[f"consistency{number}"] == pytest.approx(float(v[f"pse{i}"]), rel=1e-5)
        assert logs[f"weight{number}"] == pytest.approx(float(v["weight"]), rel=1e-5)
        gradient = getattr(method, update.on).logits[0].grad
        np.testing.assert_allclose(gradient, v[f"grad{i}"], rtol=1e-3, atol=1e-8)
    assert sum(update.loss.item() for update in updates) == pytest.approx(float(v["loss"]), rel=1e-5)


@pytest.mark.usefixtures("monai")
def test_the_partner_is_another_transformer_of_about_that_size(golden):
    """Ours is not the Swin-UNet: only the size of the recipe's partner is compared with the published one."""
    v = golden("ctct__swin_params")
    wanted = sum(math.prod(n for n in shape if n > 0) for shape in v["shapes"].tolist())
    assert wanted == int(v["n_params"])
    classes = int(v["n_classes"])
    partner = networks.build("monai:SwinUNETR", dim=2, in_channels=1, classes=classes, feature_size=48)
    assert sum(p.numel() for p in partner.parameters()) == pytest.approx(wanted, rel=0.1)
