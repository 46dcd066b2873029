"""TCSM against the original functions and the original trainer with its gradient restored."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from tests.golden.replay import Answers, Tiny, state

from semiseg.core import Batch, Clock
from semiseg.inference.postprocess import postprocess
from semiseg.losses import cross_entropy
from semiseg.methods.parts.transforms import Chain, Symmetries, Zoom, flip, turns
from semiseg.methods.tcsm import TCSM
from semiseg.settings.config import OptimizerConfig
from semiseg.training.optim import build_optimizer
from semiseg.training.update import Precision, iterate

SKIN = (1.93, 8.06)
"""The original's class weights."""


def turned(rot, flipped):
    """The vectors' symmetries: a flip of the rows, then quarter turns."""
    rows = flip(2, 0)
    return Symmetries(
        [
            rows.then(turns(2, r)) if b else turns(2, r)
            for r, b in zip(rot.tolist(), flipped.tolist(), strict=True)
        ]
    )


def zoomed(sides):
    return Zoom([(n, n) for n in sides.tolist()])


def test_turns_and_flips(golden):
    v = golden("tcsm__rot_flip")
    symmetries = turned(v["rot"], v["flip"])
    forward = symmetries.apply(torch.from_numpy(v["x"]))
    np.testing.assert_array_equal(forward, v["forward"])
    np.testing.assert_array_equal(symmetries.invert(forward), v["back_of_forward"])
    np.testing.assert_array_equal(symmetries.invert(torch.from_numpy(v["logits"])), v["logits_back"])


def test_scaling(golden):
    v = golden("tcsm__scale")
    zoom = zoomed(v["scale"])
    forward = zoom.apply(torch.from_numpy(v["x"]))
    np.testing.assert_allclose(forward, v["forward"], rtol=1e-3, atol=1e-4)
    back = zoom.invert(torch.from_numpy(v["logits"]))
    np.testing.assert_allclose(back, v["logits_back"], rtol=1e-3, atol=1e-4)


def test_the_border_is_masked_sample_by_sample(golden):
    v = golden("tcsm__scale")
    student = torch.from_numpy(v["student_logits"])
    small = student[: len(v["scale_small"])]
    masked = small.where(zoomed(v["scale_small"]).valid(small), 0.0)
    np.testing.assert_array_equal(masked, v["masked_small_only"])

    ours = student.where(zoomed(v["scale"]).valid(student), 0.0)
    edge = int(v["S"])
    one_is_large = (v["scale"] > edge).any()  # which in the original unmasks all
    np.testing.assert_array_equal(student if one_is_large else ours, v["masked"])
    for sample, given, side in zip(ours, student, v["scale"].tolist(), strict=True):
        border = max(edge - side, 0) // 2
        outside = torch.ones(edge, edge, dtype=torch.bool)
        outside[border : edge - border, border : edge - border] = False
        assert torch.equal(sample, given.where(~outside, 0.0))


def test_consistency_terms(golden):
    v = golden("tcsm__losses")
    a, b, c = (torch.from_numpy(v[name]) for name in "abc")
    method = TCSM(lambda: Answers(v["a"]))
    everywhere = torch.ones_like(a[:, :1], dtype=torch.bool)
    np.testing.assert_allclose(method.agreement([a, b], everywhere).item(), v["mse_mean"], rtol=1e-4)
    np.testing.assert_allclose(method.agreement([a, b, c], everywhere).item(), v["three_mean"], rtol=1e-4)


def test_weighted_cross_entropy(golden):
    v = golden("tcsm__losses")
    loss = cross_entropy(torch.from_numpy(v["a"]), torch.from_numpy(v["label"]), weights=SKIN)
    assert loss.item() == pytest.approx(float(v["weighted_ce"]), rel=1e-5)


def iterations(v, monkeypatch, **options):
    """The stored iterations with our method: logs of each, then the method as it was left.

    An epoch of the vectors is as long as they are; the ramp's weight tells which epoch it was.
    """
    n = len(v["imgs"])
    epoch = round(600 * (1 - math.sqrt(-math.log(v["weight"][0]) / 5)))
    settings = {"class_weights": SKIN, "consistency_on": "unlabeled", "forwards": "separate"} | options
    method = TCSM(lambda: Tiny(state(v, "student_init__")), ramp=600 * n, ramp_unit=n, **settings)
    method.net.load_state_dict(state(v, "student_init__"))
    method.teacher.load_state_dict(state(v, "teacher_init__"))
    optimizer = build_optimizer(method.net, OptimizerConfig(name="adam", lr=learning_rate(v), weight_decay=0))
    fabric = Fabric(accelerator="cpu", devices=1)
    logs = []
    for s in range(n):
        if "rot" in v:
            steps = [turned(v["rot"][s], v["flip"][s])] + ([zoomed(v["scale"][s])] if "scale" in v else [])
            chain = Chain(*steps)
            monkeypatch.setattr(method, "draw", lambda images, drawn=chain: drawn)
            monkeypatch.setattr(method, "perturb", lambda x, noise=v["noise"][s]: x + torch.from_numpy(noise))
        images, labels, unlabeled = (torch.from_numpy(v[key][s]) for key in ("imgs", "labels", "unlabelled"))
        batch = Batch(images, labels.long(), {"weak": unlabeled})
        t = Clock(epoch * n + s, 600 * n)
        values, finite = iterate(fabric, method, batch, {"net": optimizer}, t, Precision("32", fabric.device))
        assert finite
        logs.append(values)
    return logs, method


def assert_weights(method, v, unknown=()):
    """As the original loop left them, but for the bias in front of batch norm.

    That bias changes no output: its gradient is rounding error, which Adam makes a step of full size. It is
    part of the running means. ``unknown`` are those that depend on draws that are not stored.
    """
    lr, n = learning_rate(v), len(v["imgs"])
    for network, prefix in ((method.net, "student_final__"), (method.teacher, "teacher_final__")):
        expected = state(v, prefix)
        assert expected.keys() == network.state_dict().keys()
        for name, value in network.state_dict().items():
            if prefix + name in unknown:
                continue
            atol = 2 * lr * n if name in ("conv1.bias", "bn1.running_mean") else 1e-6
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=atol, err_msg=prefix + name)


def learning_rate(v):
    return float(re.search(r"lr (\d+e-\d+)", " ".join(v["doc"])).group(1))


@pytest.mark.parametrize("name", ["tcsm__steps_rot", "tcsm__steps_rot_scale"])
def test_optimizer_steps_equal_the_corrected_trainer(golden, monkeypatch, name):
    v = golden(name)
    logs, method = iterations(v, monkeypatch)
    for s, values in enumerate(logs):
        assert values["weight"].item() == pytest.approx(float(v["weight"][s]), rel=1e-6)
        assert values["supervised"].item() == pytest.approx(float(v["loss_supervised"][s]), rel=1e-5)
        weighted = values["weight"] * values["consistency"]
        assert weighted.item() == pytest.approx(float(v["loss_unsup"][s]), rel=1e-4)
        assert values["loss"].item() == pytest.approx(float(v["loss_total"][s]), rel=1e-5)
    assert_weights(method, v)


def test_the_released_trainer_learns_from_labels_alone_and_ours_does_not(golden, monkeypatch):
    v = golden("tcsm__released_step")
    assert v["identical_with_and_without_consistency"]
    logs, labels_alone = iterations(v, monkeypatch, weight=0.0)
    for s, values in enumerate(logs):
        assert values["supervised"].item() == pytest.approx(float(v["loss_supervised"][s]), rel=1e-5)
    seen_by_the_teacher = [f"teacher_final__bn1.running_{of}" for of in ("mean", "var")]
    assert_weights(labels_alone, v, unknown=seen_by_the_teacher)

    logs, ours = iterations(v, monkeypatch)
    assert logs[0]["weight"].item() == pytest.approx(float(v["weight"][0]), rel=1e-6)
    assert logs[0]["supervised"].item() == pytest.approx(float(v["loss_supervised"][0]), rel=1e-5)
    assert logs[0]["consistency"] > 0
    moved = [
        np.abs(value.detach().numpy() - v["student_final__" + name]).max()
        for name, value in ours.net.named_parameters()
    ]
    assert max(moved) > 1e-6
    assert not torch.equal(ours.net.conv1.weight, labels_alone.net.conv1.weight)


def test_holes_are_filled_and_one_component_is_left(golden):
    v = golden("tcsm__postprocess")
    labels = (v["score"] > 0.5).astype(np.uint8)
    found = postprocess(labels, {"lesion": 1}, fill_holes=True, largest_component=True)
    np.testing.assert_allclose(scores(found, v["gt"]), v["JA_AC_DI_SE_SP"], rtol=1e-9)


def scores(found, wanted):
    """Jaccard, accuracy, Dice, sensitivity, specificity, as the original writes them."""
    p, g = found == 1, wanted == 1
    tp, fp, fn, tn = ((a & b).sum() for a, b in ((p, g), (p, ~g), (~p, g), (~p, ~g)))
    parts = [
        (tp, tp + fp + fn),
        (tp + tn, p.size),
        (2 * tp, 2 * tp + fp + fn),
        (tp, tp + fn),
        (tn, tn + fp),
    ]
    return [above / (below + 1e-7) for above, below in parts]
