"""Entropy minimization against the original function: loss, gradient, weight, total."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers

from semiseg.core import Batch, Clock
from semiseg.losses import dice_ce, entropy_loss, entropy_map
from semiseg.methods.entropy_min import EntropyMin


def test_loss_and_gradient(golden):
    v = golden("em__entropy_loss")
    z = torch.from_numpy(v["logits"]).requires_grad_()
    loss = entropy_loss(z.softmax(1))
    loss.backward()
    assert loss.item() == pytest.approx(float(v["loss"]), rel=1e-5)
    np.testing.assert_allclose(z.grad, v["grad"], rtol=1e-3, atol=1e-8)
    nats = entropy_map(z.softmax(1), normalized=False).mean().item()
    assert nats == pytest.approx(float(v["loss_unnormalised"]), rel=1e-5)
    assert nats / math.log(int(v["n_classes"])) == pytest.approx(float(v["loss"]), rel=1e-5)


def test_the_method_takes_it_over_all_scans_at_the_published_weight(golden):
    v = golden("em__entropy_loss")
    found = re.search(r"iter (\d+) \(([\d.]+), ?(\d+)\)", str(v["doc"]))
    step, w_max, units = (int(found[1]), float(found[2]), int(found[3])) if found else (3000, 0.1, 200)
    method = EntropyMin(lambda: Answers(v["logits"]), weight=w_max, ramp=units * 150, ramp_unit=150)
    shape = v["logits"].shape
    n = shape[0] // 2
    y = torch.from_numpy(v["logits"][:n]).argmin(1)
    batch = Batch(torch.zeros(n, 1, *shape[2:]), y, {"weak": torch.zeros(shape[0] - n, 1, *shape[2:])})
    (update,) = method.step(batch, Clock(step, 30000))
    update.loss.backward()
    z = torch.from_numpy(v["logits"]).requires_grad_()
    supervised = dice_ce(z[:n], y)
    supervised.backward()
    weight = float(v["weight01"])
    assert update.logs["weight"].item() == pytest.approx(weight, rel=1e-5)
    assert update.logs["consistency"].item() == pytest.approx(float(v["loss"]), rel=1e-5)
    assert update.loss.item() == pytest.approx(supervised.item() + weight * float(v["loss"]), rel=1e-5)
    expected = z.grad + weight * torch.from_numpy(v["grad"])
    np.testing.assert_allclose(method.net.logits[0].grad, expected, rtol=1e-3, atol=1e-7)
