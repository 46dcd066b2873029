"""DyCON against the original code: both losses with gradients, the schedule, every term of one step."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.golden.replay import Vector
from tests.methods.tiny import TinyNet
from torch import Tensor, nn

from semiseg.core import Batch, Clock, SegOutput
from semiseg.losses import dice_ce, softmax_mse
from semiseg.methods.dycon import DyCON, uncl
from semiseg.methods.dycon.contrast import fecl
from semiseg.methods.dycon.embedding import EMBEDDINGS
from semiseg.schedules import geometric, sigmoid_rampup

RAMP = 1500
"""Length of the threshold's ramp in the vectors of FeCL, in epochs; 0.225 of a run of 6667."""


def threshold_at(epoch: float) -> float:
    return 0.3 + 0.2 * sigmoid_rampup(epoch, RAMP)


def settings(v: Vector, name: str) -> tuple[Tensor, dict[str, object]]:
    """Labels and options of a case, which its name tells."""
    labels = torch.from_numpy(v["mask4" if name.startswith("multiclass") else "mask2"][:, 0]).long()
    if name == "one_class_only":
        labels = torch.ones_like(labels)
    if name == "singleton_class":
        labels = torch.zeros_like(labels)
        labels[:, 0] = 1
    epoch = re.search(r"_e(\d+)", name)
    cross = re.search(r"lambda([\d.]+)", name)
    options = {
        "gamma": 2.0 if "focal" in name else 0.0,
        "taught": torch.from_numpy(v["teacher_feat"]).mT if "teacher" in name else None,
        "weights": torch.from_numpy(v["uncertainty"]) if "uncertainty" in name else None,
        "threshold": threshold_at(int(epoch[1]) if epoch else 0),
        "cross_weight": float(cross[1]) if cross else 1.0,
    }
    return labels, options


def test_fecl_in_the_released_form(golden):
    v = golden("dycon__fecl")
    assert len(v["names"]) > 1
    for name, value, gradient in zip(v["names"], v["value"], v["grad"], strict=True):
        labels, options = settings(v, str(name))
        z = torch.from_numpy(v["feat"]).requires_grad_()
        loss = fecl(z.mT, labels, column_max=True, **options)
        loss.backward()
        assert loss.item() == pytest.approx(float(value), rel=1e-5, abs=1e-7), name
        np.testing.assert_allclose(z.grad, gradient, rtol=1e-4, atol=1e-6, err_msg=str(name))


def test_our_fecl_shifts_rows_and_not_columns(golden):
    """Against the formula written out for each pair; the released value is another one."""
    v = golden("dycon__fecl")
    s = torch.from_numpy(v["feat"]).double()
    s = s @ s.mT / 0.6
    differs = False
    for name, value in zip(v["names"], v["value"], strict=True):
        if "teacher" in name:
            continue
        labels, options = settings(v, str(name))
        rows = []
        for b, i in np.ndindex(*labels.shape):
            other = labels[b] != labels[b, i]
            same = ~other
            same[i] = False
            share = s[b, i].exp() / (s[b, i].exp() + s[b, i][other].exp().sum())
            weight = (1 - share) ** options["gamma"] if options["weights"] is None else 1.0
            row = (weight * -share.log())[same].sum() / max(int(same.sum()), 1)
            rows.append(row if options["weights"] is None else row * options["weights"][b, i])
        ours = fecl(torch.from_numpy(v["feat"]).mT, labels, **options).item()
        assert ours == pytest.approx(torch.stack(rows).mean().item(), rel=1e-5, abs=1e-7)
        differs |= abs(ours - value) > 1e-3 * abs(value)
    assert differs


def test_thresholds(golden):
    v = golden("dycon__fecl")
    listed = re.search(r"thresholds \(epochs ([\d,]+)", " ".join(np.atleast_1d(v["doc"])))
    assert listed is not None
    epochs = [int(e) for e in listed[1].split(",")]
    np.testing.assert_allclose([threshold_at(e) for e in epochs], v["thresholds"][:, 0], rtol=1e-7)
    # No probability exceeds the threshold of positive pairs: the focal weight counts everywhere.
    assert (v["thresholds"][:, 1] > 1).all()
    total = 1_000_000
    method = make_method()
    for share in (0.0, 0.1, 0.225, 0.9):
        ours = method.threshold(Clock(round(share * total), total))
        assert ours == pytest.approx(threshold_at(share / 0.225 * RAMP), rel=1e-6)


def test_uncl(golden):
    v = golden("dycon__uncl")
    cases = [key.removeprefix("s_") for key in v if key.startswith("s_")]
    assert len(cases) > 1
    for case in cases:
        losses, gradients = v[f"loss_{case}"], v[f"grad_{case}"]
        for i, beta in enumerate(v["betas"]):
            z = torch.from_numpy(v[f"s_{case}"]).requires_grad_()
            target = torch.from_numpy(v[f"t_{case}"]).requires_grad_()
            loss = uncl(z, target, beta=float(beta))
            loss.backward()
            assert loss.item() == pytest.approx(float(losses[i]), rel=1e-5)
            assert target.grad is None
            if 2 <= i < 2 + len(gradients):
                np.testing.assert_allclose(z.grad, gradients[i - 2], rtol=1e-4, atol=1e-8)
    same = torch.from_numpy(v["s_2d_c3"])
    ours = [uncl(same, same, beta=float(beta)).item() for beta in v["betas"]]
    np.testing.assert_allclose(ours, v["loss_same"], rtol=1e-5, atol=1e-7)


def test_beta_schedule(golden):
    v = golden("dycon__beta_schedule")
    text = " ".join(np.atleast_1d(v["doc"]))
    for name in ("beta_default", "beta_alt"):
        found = re.search(name + r": total (\d+), max ([\d.]+), min ([\d.]+\d)", text)
        assert found is not None
        total, first, last = int(found[1]), float(found[2]), float(found[3])
        for epoch, beta in zip(v["epochs"], v[name], strict=True):
            # The original goes on falling after the end of the run; ours stays.
            expected = float(beta) if epoch <= total else last
            assert geometric(int(epoch), total, first, last) == pytest.approx(expected, rel=1e-9)
            method = make_method(beta_max=first, beta_min=last)
            assert method.beta(Clock(int(epoch), total)) == pytest.approx(expected, rel=1e-9)


def test_gambling_softmax_is_the_plain_one(golden):
    v = golden("dycon__beta_schedule")
    np.testing.assert_allclose(torch.from_numpy(v["gl"]).softmax(1), v["gambling"], rtol=1e-5, atol=1e-7)


class Stored(nn.Module):
    """Answers with stored logits and embeddings."""

    def __init__(self, logits: np.ndarray, embeddings: np.ndarray) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.from_numpy(logits.astype(np.float32)))
        self.embeddings = nn.Parameter(torch.from_numpy(embeddings))

    def forward(self, x: Tensor) -> SegOutput:
        return SegOutput(self.logits * 1.0, heads={EMBEDDINGS: self.embeddings * 1.0})


def make_method(**options: object) -> DyCON:
    return DyCON(lambda: TinyNet(3, 2), **options)


def step_of(v: Vector, **options: object) -> tuple[DyCON, Batch, Clock]:
    """A method that answers as stored, a batch, and the clock that the stored weights tell."""
    method = make_method(**options)
    method.net = Stored(v["student_logits"], v["student_features"])
    method.teacher = Stored(v["teacher_logits"], v["teacher_features"]).requires_grad_(False)
    n, label = int(v["labeled_bs"]), torch.from_numpy(v["label"]).long()
    images = torch.zeros((len(label), 1, *label.shape[1:]))
    # w = 0.1 exp(-5 (1 - e / 200)^2) with e = k // 150, and beta = 5 (0.1)^(k / total).
    unit = round(200 * (1 - math.sqrt(-math.log(float(v["weight"]) / 0.1) / 5)))
    k = 150 * unit + 75
    fraction = math.log(float(v["beta"]) / 5.0) / math.log(0.1)
    return (
        method,
        Batch(images[:n], label[:n], {"weak": images[n:]}),
        Clock(k * 1000, round(k * 1000 / fraction)),
    )


def test_every_term_of_a_step(golden):
    """With the true labels of the unlabeled scans put in from outside: the method itself cannot get them."""
    v = golden("dycon__step_losses")
    n = int(v["labeled_bs"])
    method, batch, t = step_of(
        v, column_max=True, double_softmax=True, ramp=200 * 150 * 1000, ramp_unit=150 * 1000
    )
    oracle = torch.from_numpy(v["mask_con"][n:, 0]).long()
    method.patch_classes = lambda taught, y_l, grid: oracle
    (update,) = method.step(batch, t)
    update.loss.backward()

    assert update.logs["supervised"].item() == pytest.approx(float(v["loss_ce"] + v["loss_dice"]), rel=1e-5)
    assert update.logs["fecl"].item() == pytest.approx(float(v["f_loss"]), rel=1e-4)
    assert update.logs["uncl"].item() == pytest.approx(float(v["u_loss"]), rel=1e-4)
    assert update.logs["consistency"].item() == pytest.approx(float(v["consistency_loss"]), rel=1e-4)
    assert update.logs["weight"].item() == pytest.approx(float(v["weight"]), rel=1e-6)
    assert update.loss.item() == pytest.approx(float(v["loss"]), rel=1e-4)
    np.testing.assert_allclose(method.net.embeddings.grad, v["grad_feat"], rtol=1e-3, atol=1e-6)
    gradient = method.net.logits.grad
    np.testing.assert_allclose(gradient.abs().flatten(1).mean(1), v["grad_logits_absmean"], rtol=1e-3)
    np.testing.assert_allclose(gradient[:, :, :, 0, 0], v["grad_logits_slice"], rtol=1e-3, atol=1e-8)


def test_our_step_takes_the_teachers_classes_and_one_softmax(golden):
    v = golden("dycon__step_losses")
    n = int(v["labeled_bs"])
    method, batch, t = step_of(v)
    (update,) = method.step(batch, t)
    logits, target = (torch.from_numpy(v[f"{who}_logits"]).float()[n:] for who in ("student", "teacher"))
    z, z_t = (F.normalize(torch.from_numpy(v[f"{who}_features"])[n:].flatten(2), dim=1) for who in WHO)
    q = target.softmax(1)
    size = [s // g for s, g in zip(q.shape[2:], v["student_features"].shape[2:], strict=True)]
    classes = F.avg_pool3d(q, size).argmax(1).flatten(1)
    contrast = fecl(z, classes, taught=z_t, threshold=method.threshold(t))
    consistency = (logits.softmax(1) - q).square().mean()
    assert update.logs["fecl"].item() == pytest.approx(contrast.item(), rel=1e-5)
    assert update.logs["consistency"].item() == pytest.approx(consistency.item(), rel=1e-5)
    assert update.logs["consistency"].item() > 1.5 * float(v["consistency_loss"])
    assert softmax_mse(logits, target).item() == pytest.approx(consistency.item(), rel=1e-5)
    labeled = torch.from_numpy(v["student_logits"]).float()[:n]
    supervised = 2 * dice_ce(labeled, batch.y_l, include_background=False)
    rest = supervised + update.logs["weight"] * consistency
    loss = rest + 0.5 * (contrast + update.logs["uncl"])
    assert update.loss.item() == pytest.approx(loss.item(), rel=1e-5)


WHO = ("student", "teacher")
