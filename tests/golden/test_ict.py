"""ICT against the original scripts: mixing, targets, loss, gradient, weights of both networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers, Tiny, assert_final_weights, replay, state

from semiseg.core import Batch, Clock
from semiseg.methods import ict
from semiseg.methods.ict import ICT
from semiseg.methods.parts.mixing import mixup

CODE = {"ramp": 200 * 150, "ramp_unit": 150}


def stored(monkeypatch, factor: np.ndarray) -> None:
    """Let the next step mix with the stored factors."""

    def beta_factors(n: int, alpha: float, like: torch.Tensor) -> torch.Tensor:
        assert n == len(factor)
        return torch.from_numpy(factor).float().view(n, *[1] * (like.ndim - 1))

    monkeypatch.setattr(ict, "beta_factors", beta_factors)


@pytest.mark.parametrize("name", ["ict__mix_and_loss", "ict__mix_and_loss_3d"])
def test_mixing_loss_and_gradient(golden, monkeypatch, name):
    v = golden(name)
    stored(monkeypatch, v["factor"])
    method = ICT(lambda: Answers(v["student_logits"]), **CODE)
    method.teacher = Answers(v["teacher_logits_u0"], v["teacher_logits_u1"]).requires_grad_(False)
    n, images = int(v["labeled_bs"]), torch.from_numpy(v["images"])
    batch = Batch(images[:n], torch.from_numpy(v["label"])[:n], {"weak": images[n:]})
    (update,) = method.step(batch, Clock(int(v["iteration"]), 30000))
    update.loss.backward()

    close = dict(rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(method.net.asked[0][n:], v["mixed"], **close)
    np.testing.assert_allclose(method.net.asked[0][:n], images[:n])
    q0, q1 = (torch.from_numpy(v[f"teacher_logits_u{i}"]).softmax(1) for i in (0, 1))
    factor = ict.beta_factors(len(q0), 0.2, q0)
    np.testing.assert_allclose(mixup(q0, q1, factor), v["target"], **close)
    assert update.logs["supervised"].item() == pytest.approx(
        float(v["loss_ce"] + v["loss_dice"]) / 2, rel=1e-4
    )
    assert update.logs["consistency"].item() == pytest.approx(float(v["consistency_loss"]), rel=1e-4)
    assert update.logs["weight"].item() == pytest.approx(float(v["consistency_weight"]), rel=1e-5)
    assert update.loss.item() == pytest.approx(float(v["loss"]), rel=1e-4)
    np.testing.assert_allclose(method.net.logits[0].grad, v["grad_student"], rtol=1e-3, atol=1e-7)


def test_optimizer_steps_equal_the_original_loop(golden, monkeypatch):
    v = golden("ict__steps")
    method = ICT(lambda: Tiny(state(v, "student_init__")), decay=float(v["ema_decay"]), **CODE)
    for s, _, logs in replay(method, v, lambda s: stored(monkeypatch, v["factor"][s])):
        assert logs["loss"].item() == pytest.approx(float(v["loss"][s]), rel=1e-4)
        assert logs["weight"].item() == pytest.approx(float(v["consistency_weight"][s]), rel=1e-5)
        assert logs["consistency"].item() == pytest.approx(float(v["consistency_loss"][s]), rel=1e-4)
    assert_final_weights(method, v)
