"""What the scripts of SSL4MIS share: the Dice term of all classes and the ramp of the weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semiseg.losses import dice_loss
from semiseg.schedules import consistency_ramp

COLUMNS = [(0.1, 200), (0.1, 40), (1.0, 40), (4.0, 200)]  # weight and length in units of 150 iterations


def test_dice(golden):
    v = golden("ssl4mis__dice")
    z = torch.from_numpy(v["logits"]).requires_grad_()
    loss = dice_loss(z.softmax(1), torch.from_numpy(v["target"]).long())
    loss.backward()
    assert loss.item() == pytest.approx(float(v["loss"]), rel=1e-5)
    np.testing.assert_allclose(z.grad, v["grad"], rtol=1e-3, atol=1e-8)


def test_ramps(golden):
    v = golden("ssl4mis__ramps")
    for (weight, length), expected in zip(COLUMNS, v["weights"], strict=True):
        ours = [weight * consistency_ramp(int(k), length * 150, 150) for k in v["iters"]]
        np.testing.assert_allclose(ours, expected, rtol=1e-5)
