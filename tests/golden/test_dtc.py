"""DTC against the original script: transform, loss terms, totals, gradients of both heads, schedules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.two_tasks import OneClass, iteration_of_gradients, make_batch

from semiseg import schedules
from semiseg.core import Clock
from semiseg.losses import mask_from_distance
from semiseg.methods.dtc import DTC
from semiseg.settings.resolve import resolve
from semiseg.training.optim import lr_factor

UNIT = 150
"""Iterations of one step of the scripts' ramp."""


def make(v, **options) -> DTC:
    return DTC(
        lambda heads=None: OneClass(v),
        weight=float(v["consistency"]),
        distance_weight=float(v["beta"]),
        ramp=int(v["rampup"]) * UNIT,
        ramp_unit=UNIT,
        **options,
    )


def test_mask_of_a_distance_and_its_gradient(golden):
    v = golden("dtc__task_transform")
    z = torch.from_numpy(v["z"]).requires_grad_()
    mask = mask_from_distance(z, steepness=float(v["k"]))
    mask.sum().backward()
    np.testing.assert_allclose(mask.detach(), v["y"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(z.grad, v["grad"], rtol=1e-4, atol=1e-4)


def test_loss_terms_and_totals(golden):
    v = golden("dtc__losses")
    batch = make_batch(v)
    np.testing.assert_allclose(batch.targets["sdf_published"][:, 0], v["gt_dis"], atol=1e-6)
    masks = mask_from_distance(torch.from_numpy(v["outputs_tanh"]))
    np.testing.assert_allclose(masks, v["dis_to_mask"], rtol=1e-5, atol=1e-7)
    for i, k in enumerate(v["iters"]):
        method = make(v, absent="zeros")
        (update,) = method.step(batch, Clock(int(k), int(v["iters"].max()) + 1))
        assert update.logs["dice"].item() == pytest.approx(float(v["loss_seg_dice"]), rel=1e-5)
        assert update.logs["distance"].item() == pytest.approx(float(v["loss_sdf"]), rel=1e-5)
        assert update.logs["consistency"].item() == pytest.approx(float(v["consistency_loss"]), rel=1e-4)
        assert update.logs["weight"].item() == pytest.approx(float(v["consistency_weight"][i]), rel=1e-5)
        assert update.loss.item() == pytest.approx(float(v["loss"][i]), rel=1e-5)


def test_gradients_of_both_heads(golden):
    v = golden("dtc__losses")
    method = make(v, absent="zeros")
    (update,) = method.step(make_batch(v), Clock(iteration_of_gradients(v), 10**6))
    update.loss.backward()
    np.testing.assert_allclose(method.net.logits.grad, v["grad_logit"], rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(method.net.distances.grad, v["grad_tanh"], rtol=1e-3, atol=1e-6)


def test_our_default_differs_where_the_class_is_absent_and_nowhere_else(golden, caplog):
    v = golden("dtc__losses")
    t = Clock(int(v["iters"][0]), 10**6)
    batch = make_batch(v)
    (ours,), (published,) = (make(v, absent=absent).step(batch, t) for absent in ("ones", "zeros"))
    assert ours.loss.item() == published.loss.item()
    assert len(caplog.records) == 1

    empty = make_batch(v | {"label": np.zeros_like(v["label"])})
    (ours,) = make(v).step(empty, t)
    (published,) = make(v, absent="zeros").step(empty, t)
    z = torch.from_numpy(v["outputs_tanh"])[: int(v["labeled_bs"])]
    assert ours.logs["distance"].item() == pytest.approx((z - 1).square().mean().item(), rel=1e-5)
    assert published.logs["distance"].item() == pytest.approx(z.square().mean().item(), rel=1e-5)


@pytest.mark.parametrize("name", ["dtc", "sassnet"])
def test_schedules_of_the_recipe(golden, name):
    v = golden("dtc__schedules")
    config = resolve(recipe="la", environment={}, flags={"method.name": name})
    options = config.method.options
    for k, lr, weight in zip(v["iters"], v["lr_next"], v["weight"], strict=True):
        step, total = int(k), config.train.iterations
        assert config.optimizer.lr * lr_factor(config.schedule, step, total) == pytest.approx(float(lr))
        ramp = schedules.consistency_ramp(step, options["ramp"], options["ramp_unit"])
        assert ramp == pytest.approx(float(weight), rel=1e-9)


def test_ramp(golden):
    v = golden("dtc__schedules")
    ours = [schedules.sigmoid_rampup(float(x), 40) for x in v["ramp_in"]]
    np.testing.assert_allclose(ours, v["ramp_out"], rtol=1e-9)
    assert schedules.sigmoid_rampup(3, 0) == float(v["ramp_len0"])
