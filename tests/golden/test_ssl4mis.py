"""What the scripts of SSL4MIS share: the Dice term of all classes and the ramp of the weight."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from tests.golden.ssl4mis import said
from torch import nn

from semiseg.core import Clock
from semiseg.losses import dice_loss
from semiseg.methods.cps import CPS
from semiseg.methods.deep_co_training import DeepCoTraining
from semiseg.methods.fixmatch import FixMatch
from semiseg.methods.r_drop import RDrop
from semiseg.schedules import consistency_ramp


def test_dice(golden):
    v = golden("ssl4mis__dice")
    z = torch.from_numpy(v["logits"]).requires_grad_()
    loss = dice_loss(z.softmax(1), torch.from_numpy(v["target"]).long())
    loss.backward()
    assert loss.item() == pytest.approx(float(v["loss"]), rel=1e-5)
    np.testing.assert_allclose(z.grad, v["grad"], rtol=1e-3, atol=1e-8)


def test_ramps(golden):
    v = golden("ssl4mis__ramps")
    columns = re.findall(r"\(([\d.]+), ?(\d+)\)", str(v["doc"]))  # weight, length in units of 150 iterations
    for (weight, length), expected in zip(columns, v["weights"], strict=True):
        ours = [float(weight) * consistency_ramp(int(k), int(length) * 150, 150) for k in v["iters"]]
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "kind"), [("cps", CPS), ("fixmatch", FixMatch), ("rdrop", RDrop), ("dct", DeepCoTraining)]
)
def test_published_weights(golden, name, kind):
    """The weight of each vector is that of the method at its iteration, by default in w_max and ramp."""
    v = golden(f"{name}__losses")
    published = kind(lambda: nn.Identity()).weight
    weight = said(v, "consistency", published)
    length, step = said(v, "ramp", 200), said(v, "iter_num", 3000)
    method = kind(lambda: nn.Identity(), weight=weight, ramp=int(length) * 150, ramp_unit=150)
    ours = method.consistency_weight(Clock(int(step), 30000))
    assert ours == pytest.approx(float(v["weight"]), rel=1e-5)
