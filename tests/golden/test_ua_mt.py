"""UA-MT against the original scripts: threshold, uncertainty, mask, losses, gradients, weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers, Tiny, assert_final_weights, draws, replay, state

from semiseg.core import Batch, Clock
from semiseg.methods.ua_mt import UAMT

CASES = [
    ("ua_mt__uncertainty_unlabelled", {"ramp": 40 * 150, "include_background": False}),
    (
        "ua_mt__uncertainty_all",
        {"ramp": 40 * 150, "include_background": False, "consistency_on": "all"},
    ),
    ("ua_mt__multiclass_ssl4mis", {"ramp": 200 * 150, "multiclass": "released"}),
]


def method_and_batch(v, **options):
    """The stored logits as answers of both networks, and a batch of empty images of the right size."""
    passes = v["teacher_mc_logits"]
    method = UAMT(lambda: Answers(v["student_logits"]), ramp_unit=150, passes=len(passes), **options)
    pairs = [p.reshape(-1, *p.shape[2:]) for p in passes.reshape(-1, 2, *passes.shape[1:])]
    method.teacher = Answers(v["teacher_logits"], *pairs).requires_grad_(False)
    n, label = int(v["labeled_bs"]), torch.from_numpy(v["label"])
    images = torch.zeros((len(label), 1, *label.shape[1:]))
    return method, Batch(images[:n], label[:n], {"weak": images[n:]})


def iterations(v):
    return sorted({int(key[2:].split("__")[0]) for key in v if key.startswith("it")})


@pytest.mark.parametrize(("name", "options"), CASES)
def test_mask_losses_and_gradient(golden, name, options):
    v = golden(name)
    assert len(iterations(v)) > 1
    for k in iterations(v):
        method, batch = method_and_batch(v, **options)
        t = Clock(k, int(v["max_iterations"]))
        expected = {key.removeprefix(f"it{k}__"): a for key, a in v.items() if key.startswith(f"it{k}__")}
        (update,) = method.step(batch, t)
        update.loss.backward()
        consistency = expected.get("consistency_dist", expected.get("consistency_loss"))
        assert update.logs["consistency"].item() == pytest.approx(float(consistency), rel=1e-4)
        assert update.logs["weight"].item() == pytest.approx(float(expected["consistency_weight"]), rel=1e-5)
        assert update.logs["certain"].item() == pytest.approx(float(expected["mask_mean"]), abs=1e-6)
        assert update.loss.item() == pytest.approx(float(expected["loss"]), rel=1e-4)
        gradient = method.net.logits[0].grad
        np.testing.assert_allclose(gradient, expected["grad_student"], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_uncertainty(golden, name, options):
    v = golden(name)
    method, _ = method_and_batch(v, **options)
    method.teacher.asked.append(torch.empty(0))  # the target's pass
    x = torch.zeros((len(v["teacher_logits"]), 1, *v["label"].shape[1:]))
    np.testing.assert_allclose(method.uncertainty(x), v["uncertainty"], rtol=1e-4, atol=1e-6)


def test_threshold(golden):
    v = golden("ua_mt__threshold")
    method = UAMT(lambda: Answers(np.zeros((1, 2, 1, 1), np.float32)))
    for k, expected in zip(v["iteration"], v["threshold"], strict=True):
        ours = method.threshold(Clock(int(k), int(v["max_iterations"])), 2)
        assert ours == pytest.approx(float(expected), rel=1e-9)


def test_optimizer_steps_equal_the_original_loop(golden, monkeypatch):
    v = golden("ua_mt__steps")
    method = UAMT(
        lambda: Tiny(state(v, "student_init__")),
        decay=float(v["ema_decay"]),
        ramp=40 * 150,
        ramp_unit=150,
        passes=2 * v["randn_mc"].shape[1],
        include_background=False,
    )
    for s, t, logs in replay(
        method, v, lambda s: draws(monkeypatch, [v["randn_target"][s], *v["randn_mc"][s]])
    ):
        assert method.threshold(t, 2) == pytest.approx(float(v["threshold"][s]), rel=1e-9)
        assert logs["loss"].item() == pytest.approx(float(v["loss"][s]), rel=1e-4)
        assert logs["weight"].item() == pytest.approx(float(v["consistency_weight"][s]), rel=1e-5)
        assert logs["consistency"].item() == pytest.approx(float(v["consistency_dist"][s]), rel=1e-4)
    assert_final_weights(method, v)


def test_our_default_for_many_classes_opens_its_mask_and_divides_by_the_classes(golden, caplog):
    v = golden("ua_mt__multiclass_ssl4mis")
    classes, total = v["student_logits"].shape[1], int(v["max_iterations"])
    n = int(v["labeled_bs"])
    p = torch.from_numpy(v["student_logits"][n:]).softmax(1)
    q = torch.from_numpy(v["teacher_logits"]).softmax(1)
    for k in iterations(v):
        method, batch = method_and_batch(v)
        t = Clock(k, total)
        h = (0.75 + 0.25 * math.exp(-5 * (1 - k / total) ** 2)) * math.log(classes)
        assert method.threshold(t, classes) == pytest.approx(h)
        (update,) = method.step(batch, t)
        mask = torch.from_numpy(v["uncertainty"]) < h
        expected = ((p - q).square() * mask).sum() / (classes * mask.sum())
        assert update.logs["consistency"].item() == pytest.approx(expected.item(), rel=1e-5)
        assert update.logs["certain"].item() > v[f"it{k}__mask_mean"]
    assert not caplog.records
    method_and_batch(v, multiclass="released")
    assert len(caplog.records) == 1
