"""UPC against the original script: both forms of its loss, gradients, weights of both networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers, Tiny, assert_final_weights, draws, replay, state

from semiseg.losses import confident_pseudo_label, rectified, rectified_pseudo_label, softmax_kl
from semiseg.methods.upc import UPC

FORMS = {
    "rect": rectified_pseudo_label,
    "rectT2": rectified_pseudo_label,  # a temperature never changes the most likely class
    "thr": lambda z, target: confident_pseudo_label(z, target, threshold=0.9),
    "thr75": lambda z, target: confident_pseudo_label(z, target, threshold=0.75),
}


def cases(v):
    found = sorted({key.split("__")[0] for key in v if key.startswith("c")})
    assert found
    return found


@pytest.mark.parametrize("form", FORMS)
def test_loss_and_gradient(golden, form):
    v = golden("upc__consistency")
    for case in cases(v):
        z = torch.from_numpy(v[f"{case}__student_logits"]).requires_grad_()
        target = torch.from_numpy(v[f"{case}__teacher_logits"]).requires_grad_()
        loss = FORMS[form](z, target)
        loss.backward()
        assert loss.item() == pytest.approx(float(v[f"{case}__{form}__loss"]), rel=1e-4)
        np.testing.assert_allclose(z.grad, v[f"{case}__{form}__grad_student"], rtol=1e-3, atol=1e-7)
        assert target.grad is None  # the original function lets it through


def test_rectifying_any_loss(golden):
    v = golden("upc__consistency")
    for case in cases(v):
        z, target = (torch.from_numpy(v[f"{case}__{who}_logits"]) for who in ("student", "teacher"))
        divergence = softmax_kl(z, target, reduction="none").sum(1)
        ours = rectified(torch.from_numpy(v[f"{case}__loss_origin"]), divergence)
        assert ours.item() == pytest.approx(float(v[f"{case}__update_variance"]), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "options"), [("upc__steps_rect", {}), ("upc__steps_default", {"pseudo_label": "threshold"})]
)
def test_optimizer_steps_equal_the_original_loop(golden, monkeypatch, name, options):
    v = golden(name)
    method = UPC(
        lambda: Tiny(state(v, "student_init__")),
        decay=float(v["ema_decay"]),
        ramp=40 * 150,
        ramp_unit=150,
        include_background=False,
        **options,
    )
    for s, _, logs in replay(method, v, lambda s: draws(monkeypatch, [v["randn"][s]])):
        assert logs["loss"].item() == pytest.approx(float(v["loss"][s]), rel=1e-4)
        assert logs["weight"].item() == pytest.approx(float(v["consistency_weight"][s]), rel=1e-5)
        assert logs["consistency"].item() == pytest.approx(float(v["consistency_loss"][s]), rel=1e-4)
    assert_final_weights(method, v)


def test_the_published_loss_is_our_default_and_the_released_one_warns(caplog):
    def make():
        return Answers(np.zeros((1, 2, 1, 1), np.float32))

    method = UPC(make)
    assert method.pseudo_label == "rectified"
    assert not caplog.records
    UPC(make, pseudo_label="threshold")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
