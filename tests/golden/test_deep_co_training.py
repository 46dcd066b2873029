"""Deep co-training against the original script: both forwards' gradients, losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers
from tests.golden.ssl4mis import END, batch_of

from semiseg.methods import deep_co_training
from semiseg.methods.deep_co_training import DeepCoTraining
from semiseg.methods.parts.transforms import turns


def test_losses_and_gradients(golden, monkeypatch):
    v = golden("dct__losses")
    turn = turns(2, int(v["rot_times"]))
    monkeypatch.setattr(deep_co_training, "draw_turn", lambda x: turn)
    method = DeepCoTraining(lambda: Answers(v["logits"], v["logits_rot"]), weight=float(v["weight"]))
    batch = batch_of(v)
    (update,) = method.step(batch, END)
    update.loss.backward()
    logs = {name: value.item() for name, value in update.logs.items()}
    assert logs["supervised"] == pytest.approx(float(v["sup"]), rel=1e-5)
    assert logs["consistency"] == pytest.approx(float(v["cons"]), rel=1e-4)
    assert logs["weight"] == pytest.approx(float(v["weight"]), rel=1e-5)
    assert update.loss.item() == pytest.approx(float(v["loss"]), rel=1e-5)
    whole, turned = method.net.logits
    np.testing.assert_allclose(whole.grad, v["grad"], rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(turned.grad, v["grad_rot"], rtol=1e-3, atol=1e-9)


def test_images_turn_as_the_predictions_do(golden):
    v = golden("dct__losses")
    n, times = int(v["labeled_bs"]), int(v["rot_times"])
    z = torch.from_numpy(v["logits"][n:])
    assert torch.equal(turns(2, times).apply(z), torch.rot90(z, times, (-2, -1)))
