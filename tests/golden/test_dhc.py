"""DHC against the original script: both kinds of weights, losses and gradients of a step, whole steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers, Tiny, Vector, assert_weights, state, stepped, tensor

from semiseg.core import Batch, Clock
from semiseg.methods.dhc import DHC, DifficultyWeights, DistributionWeights, class_counts, rarity
from semiseg.settings.config import OptimizerConfig


def test_weights_of_rare_classes(golden):
    v = golden("dhc__weights")
    k = int(v["n_classes"])
    counts = class_counts(tensor(v, "dist_labels"), k)
    np.testing.assert_allclose(rarity(counts, "released"), v["dist_init"], rtol=1e-5)
    weights = DistributionWeights(k, float(v["momentum"]), "released")
    weights.counts.copy_(counts)
    nothing = torch.full((1,), -1)
    for predicted, wanted in zip(tensor(v, "dist_pred"), v["dist_weights"], strict=True):
        np.testing.assert_allclose(weights.update(nothing, predicted), wanted, rtol=1e-5, atol=1e-6)


def test_weights_of_hard_classes(golden):
    v = golden("dhc__weights")
    weights = DifficultyWeights(int(v["n_classes"]), int(v["accumulate_iters"]), absent="released")
    for i, (predicted, label) in enumerate(zip(tensor(v, "diff_pred"), tensor(v, "diff_label"), strict=True)):
        found = weights.update(label, predicted)
        for ours, key in (
            (weights.last, "dice"),
            (weights.learned, "learn"),
            (weights.unlearned, "unlearn"),
            (weights.hard, "dice_weight"),
            (found, "weights"),
        ):
            np.testing.assert_allclose(ours, v[f"diff_{key}"][i], rtol=1e-4, atol=1e-7, err_msg=key)


def prepared(v: Vector, *networks: torch.nn.Module) -> tuple[DHC, Clock]:
    """The method as the script sets it up, and where the script stands."""
    k = int(v["n_classes"])
    for network in networks:
        network.classes = k
    left = iter(networks)
    method = DHC(
        lambda: next(left),
        weight=float(v["cps_w"]),
        momentum=float(v["momentum_dist"]),
        difficulty_steps=int(v["accumulate_iters"]),
        absent="released",
    )
    # As if these scans had been seen so often that the labels of a step do not count: only shares matter.
    method.distribution.counts.copy_(1e9 * class_counts(tensor(v, "init_dist_labels"), k))
    return method, Clock(int(v["epoch"]), int(v["max_epoch"]))


@pytest.mark.parametrize("dim", [2, 3])
def test_losses_and_gradients(golden, dim):
    v = golden(f"dhc__losses_{dim}d")
    method, t = prepared(v, Answers(v["logits_A"]), Answers(v["logits_B"]))
    label = tensor(v, "label")
    n = int(v["labeled_bs"])
    x = torch.zeros((len(v["logits_A"]), 1, *label.shape[1:]))
    updates = list(method.step(Batch(x[:n], label, {"weak": x[n:]}), t))
    for update, name in zip(updates, "AB", strict=True):
        update.loss.backward()
        gradient = getattr(method, update.on).logits[0].grad
        np.testing.assert_allclose(gradient, v[f"grad_{name}"], rtol=1e-3, atol=1e-7)
    logs = {key: value.item() for update in updates for key, value in update.logs.items()}
    np.testing.assert_allclose(method.difficulty.weights, v["weight_A"], rtol=1e-5)
    np.testing.assert_allclose(method.distribution.weights, v["weight_B"], rtol=1e-5, atol=1e-6)
    assert logs["weight"] == pytest.approx(float(v["cps_weight"]), rel=1e-5)
    assert logs["supervised"] + logs["supervised2"] == pytest.approx(float(v["loss_sup"]), rel=1e-5)
    assert logs["consistency"] + logs["consistency2"] == pytest.approx(float(v["loss_cps"]), rel=1e-5)
    assert sum(u.loss.item() for u in updates) == pytest.approx(float(v["loss"]), rel=1e-5)


def test_optimizer_steps_equal_the_original_loop(golden):
    v = golden("dhc__steps")
    method, t = prepared(v, *(Tiny(state(v, f"model{name}_init__")) for name in "AB"))
    method.net.load_state_dict(state(v, "modelA_init__"))
    method.net2.load_state_dict(state(v, "modelB_init__"))
    n = int(v["labeled_bs"])
    steps = [
        (Batch(image[:n], label[:n], {"weak": image[n:]}), t, float(v["lr"]))
        for image, label in zip(tensor(v, "image"), tensor(v, "label"), strict=True)
    ]
    kind = OptimizerConfig(name="sgd", lr=float(v["lr"]), momentum=0.9, nesterov=True, weight_decay=3e-5)
    for s, logs in enumerate(stepped(method, steps, kind)):
        assert logs["loss"].item() == pytest.approx(float(v["loss"][s]), rel=1e-4)
        np.testing.assert_allclose(method.difficulty.weights, v["weight_A"][s], rtol=1e-4)
        np.testing.assert_allclose(method.distribution.weights, v["weight_B"][s], rtol=1e-4, atol=1e-5)
    assert_weights(method.net, v, "modelA_final__")
    assert_weights(method.net2, v, "modelB_final__")
