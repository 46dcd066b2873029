"""Losses, ramps and learning rates against the original authors' functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semiseg import schedules
from semiseg.losses import dice_ce, dice_loss, entropy_loss, entropy_map, softmax_kl, softmax_mse

close = dict(rtol=1e-4, atol=1e-6)


def tensors(vector, *names):
    return [torch.from_numpy(vector[name]) for name in names]


def test_left_atrium_supervised_loss_and_gradient(golden):
    v = golden("vnet__supervised_loss")
    logits, label = tensors(v, "logits", "label")
    logits.requires_grad_()
    loss = dice_ce(logits, label, include_background=False)
    loss.backward()
    np.testing.assert_allclose(loss.item(), v["loss"], **close)
    np.testing.assert_allclose(logits.grad, v["grad_logits"], rtol=1e-3, atol=1e-7)
    dice = dice_loss(logits.softmax(1), label, include_background=False, smooth=float(v["smooth"]))
    np.testing.assert_allclose(dice.item(), v["loss_dice"], **close)


def binary(score, target, squared=True):
    """The binary form: one foreground map, as the two-class loss without background."""
    probabilities = torch.stack([1 - score, score])[None]
    return dice_loss(probabilities, target[None].long(), include_background=False, squared=squared).item()


@pytest.mark.parametrize(("squared", "name"), [(True, "dice_loss"), (False, "dice_loss1")])
def test_binary_dice_and_its_empty_cases(golden, squared, name):
    v = golden("vnet__dice_loss")
    score, target = tensors(v, "score", "target")
    nothing = torch.zeros_like(target)
    np.testing.assert_allclose(binary(score, target, squared), v[name], **close)
    np.testing.assert_allclose(binary(score * 0, nothing, squared), v[f"both_empty_{name}"], **close)
    np.testing.assert_allclose(binary(score, nothing, squared), v[f"target_empty_{name}"], **close)


def test_entropy(golden):
    v = golden("vnet__dice_loss")
    (p,) = tensors(v, "p")
    np.testing.assert_allclose(entropy_loss(p).item(), v["entropy_loss_C2"], **close)
    np.testing.assert_allclose(entropy_map(p), v["entropy_map_C2"], rtol=1e-4, atol=1e-5)


def test_multiclass_dice(golden):
    v = golden("unet2d__dice_loss")
    logits, label, missing = tensors(v, "logits", "label", "label_missing")
    logits.requires_grad_()
    loss = dice_ce(logits, label)
    loss.backward()
    np.testing.assert_allclose(loss.item(), v["supervised"], **close)
    np.testing.assert_allclose(logits.grad, v["grad_logits"], rtol=1e-3, atol=1e-7)
    p = logits.detach().softmax(1)
    np.testing.assert_allclose(dice_loss(p, label).item(), v["dice_from_logits"], **close)
    weighted = dice_loss(p, label, weights=v["weight"].tolist())
    np.testing.assert_allclose(weighted.item(), v["dice_weighted"], **close)
    np.testing.assert_allclose(dice_loss(p, missing).item(), v["dice_missing_class"], **close)


def test_consistency_terms_in_every_reduction(golden):
    v = golden("mean_teacher__softmax_mse_kl")
    z, target = tensors(v, "input_logits", "target_logits")
    np.testing.assert_allclose(softmax_mse(z, target, reduction="none"), v["mse"], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(softmax_mse(z, target).item(), v["mse_mean"], **close)
    sigmoid = softmax_mse(z, target, reduction="none", activation="sigmoid")
    np.testing.assert_allclose(sigmoid, v["mse_sigmoid"], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(softmax_kl(z, target, reduction="none"), v["kl"], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(softmax_kl(z, target, reduction="sum").item(), v["kl_sum"], rtol=1e-4)
    np.testing.assert_allclose(softmax_kl(z, target, reduction="mean").item(), v["kl_mean_all"], **close)
    per_voxel = softmax_kl(z, target).item()
    np.testing.assert_allclose(per_voxel, v["kl_mean_all"] * z.shape[1], **close)
    np.testing.assert_allclose((z - target).square().mean().item(), v["symmetric_mse"], **close)


@pytest.mark.parametrize(
    ("loss", "name", "reduction"), [(softmax_mse, "mse", "mean"), (softmax_kl, "kl", "sum")]
)
def test_consistency_gradients(golden, loss, name, reduction):
    v = golden("mean_teacher__softmax_mse_kl")
    z, target = (t.requires_grad_() for t in tensors(v, "input_logits", "target_logits"))
    loss(z, target, reduction=reduction).backward()
    np.testing.assert_allclose(z.grad, v[f"grad_{name}_input"], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(target.grad, v[f"grad_{name}_target"], rtol=1e-3, atol=1e-6)


def test_ramps(golden):
    v = golden("mean_teacher__rampup")
    length = float(v["rampup_length"])
    for i, current in enumerate(v["current"]):
        assert schedules.sigmoid_rampup(current, length) == pytest.approx(v["sigmoid_rampup"][i])
        assert schedules.linear_rampup(max(current, 0), length) == pytest.approx(v["linear_rampup"][i])
        clipped = min(max(current, 0), length)
        assert schedules.cosine_rampdown(clipped, length) == pytest.approx(v["cosine_rampdown"][i])
    assert schedules.sigmoid_rampup(3, 0) == v["sigmoid_rampup_len0"]


@pytest.mark.parametrize("script", ["uamt", "ssl4mis2d", "upc"])
def test_consistency_weights_of_the_scripts(golden, script):
    v = golden("mean_teacher__rampup")
    weight, length = v[f"weight_{script}__consistency_rampup"]
    for step, expected in zip(v["iteration"], v[f"weight_{script}"], strict=True):
        ours = weight * schedules.consistency_ramp(int(step), length * 150, unit=150)
        assert ours == pytest.approx(expected)


def test_consistency_weights_of_tcsm(golden):
    v = golden("mean_teacher__rampup")
    for epoch, expected in zip(v["tcsm_epoch"], v["weight_tcsm"], strict=True):
        for step in (10 * int(epoch), 10 * int(epoch) + 9):  # 10 iterations per epoch
            assert schedules.consistency_ramp(step, 600 * 10, unit=10) == pytest.approx(expected)


def test_left_atrium_learning_rate(golden):
    v = golden("vnet__lr_step2500")
    ours = [float(v["base_lr"]) * schedules.staircase(int(k), 2500) for k in v["step_index"]]
    np.testing.assert_allclose(ours, v["lr"], rtol=1e-9)


def test_polynomial_learning_rate_lags_one_step(golden):
    v = golden("unet2d__poly_lr")
    total, power = int(v["max_iterations"]), float(v["power"])
    ours = [float(v["base_lr"]) * schedules.poly(int(k), total, power, lag=1) for k in v["step_index"]]
    np.testing.assert_allclose(ours, v["lr"], rtol=1e-9)
