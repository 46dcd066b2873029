"""AD-MT against the authors' statements: the vote, conflicts, both turns, losses, gradients, both
teachers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from tests.golden.replay import Answers, Tiny, state

from semiseg.core import Batch, Clock
from semiseg.methods import ad_mt
from semiseg.methods.ad_mt import ADMT, Turns, agree
from semiseg.methods.parts.cutmix import box_around
from semiseg.settings.config import OptimizerConfig, ScheduleConfig
from semiseg.training.optim import build_optimizer, lr_factor
from semiseg.training.update import Precision, iterate


class Fixed:
    """Turns as stored."""

    def __init__(self, turns):
        self.turns = list(turns)

    def at(self, step):
        return self.turns[step]


def options(v):
    assert not v["flag_pseudo_from_student"]
    assert float(v["temp"]) == 1
    return {
        "weight": float(v["consistency"]),
        "tau": float(v["conf_threshold"]),
        "unlabeled_loss": str(v["flag_ulb_loss_type"]),
        "decay": float(v["ema_decay"]),
        "ema_warmup": 2 * int(v["consistency_rampup"]),
        "ramp": 150 * int(v["consistency_rampup"]),
        "ramp_unit": 150,
        "student_vote": "unmixed",
    }


def cut(monkeypatch, v, lam, centers, order):
    """Let the method draw the stored boxes and partners."""

    def boxes(count, size, *, device):
        found = torch.zeros((count, *size), dtype=torch.bool)
        for mask, center in zip(found, centers.T, strict=True):
            mask[box_around(center.tolist(), size, float(lam))] = True
        return found

    monkeypatch.setattr(ad_mt, "draw_beta_boxes", boxes)
    monkeypatch.setattr(torch, "randperm", lambda n: torch.from_numpy(order))


class Asked(Answers):
    """Remembers the modes it was asked in; has batch norm, as the original networks."""

    def __init__(self, *logits):
        super().__init__(*logits)
        self.norm = torch.nn.BatchNorm1d(1)
        self.modes = []

    def forward(self, x):
        self.modes.append(self.training)
        return super().forward(x)


@pytest.mark.parametrize("case", ["t1", "t2"])
@pytest.mark.parametrize("name", ["ad_mt__losses_3d", "ad_mt__losses_2d"])
def test_losses_and_gradients(golden, monkeypatch, caplog, name, case):
    v = golden(name)
    of = {key.removeprefix(f"{case}__"): value for key, value in v.items() if key.startswith(f"{case}__")}
    student = np.concatenate([of["logits_lb"], of["logits_w"], of["logits_s"]])
    left = iter([student, of["logits_tea1"], of["logits_tea2"]])
    method = ADMT(lambda: Asked(next(left)), **options(v))
    assert len(method.deviations) == len(caplog.records) == 1
    step = int(v["iter_num"])
    method.turns = Fixed([case == "t2"] * (step + 1))
    if case == "t2":
        cut(monkeypatch, v, of["cutmix_lam"], of["cutmix_centres"], of["cutmix_perm"])
    images = {view: torch.from_numpy(of[f"img_{key}"]) for view, key in (("weak", "w"), ("strong", "s"))}
    batch = Batch(torch.from_numpy(of["img_lb"]), torch.from_numpy(of["label"]).long(), images)
    found = {}
    fought = method.fought
    monkeypatch.setattr(method, "fought", lambda *args: found.setdefault("target", fought(*args)))
    (update,) = method.step(batch, Clock(step, int(v["max_iterations"])))
    update.loss.backward()

    np.testing.assert_allclose(method.net.asked[0], of["student_input"], rtol=1e-5)
    assert [teacher.modes for teacher in method.teachers] == [[mode] for mode in of["teacher_train_mode"]]
    target = found["target"]
    np.testing.assert_allclose(target.confidence, of["pseudo_conf"], rtol=1e-4)
    known = of["pseudo"] >= 0
    np.testing.assert_array_equal(target.classes[known], of["pseudo"][known])
    logs = {key: value.item() for key, value in update.logs.items()}
    assert logs["supervised"] == pytest.approx(float(of["loss_lb"]), rel=1e-5)
    assert logs["consistency"] == pytest.approx(float(of["loss_ulb"]), rel=1e-5)
    assert logs["weight"] == pytest.approx(float(of["consistency_weight"]), rel=1e-6)
    assert update.loss.item() == pytest.approx(float(of["loss"]), rel=1e-5)
    expected = np.concatenate([of["grad_lb"], of["grad_w"], of["grad_s"]])
    assert not of["grad_w"].any()
    np.testing.assert_allclose(method.net.logits[0].grad, expected, rtol=1e-3, atol=1e-8)
    rate = lr_factor(ScheduleConfig(name="poly", lag=1), step + 1, int(v["max_iterations"]))
    assert float(v["base_lr"]) * rate == pytest.approx(float(of["lr_"]))


@pytest.mark.parametrize("name", ["ad_mt__steps_3d", "ad_mt__steps_2d"])
def test_optimizer_steps_and_both_teachers(golden, monkeypatch, name):
    v = golden(name)
    prefixes = {"net": "student", "teacher": "teacher1", "teacher2": "teacher2"}
    keys = {
        p: next(k for k in v if k.startswith(p) and k.endswith("conv1.weight")) for p in prefixes.values()
    }
    start = {p: key.removesuffix("conv1.weight") for p, key in keys.items()}
    left = iter([state(v, start[p]) for p in prefixes.values()])
    method = ADMT(lambda: Tiny(next(left)), **options(v))
    for attribute, prefix in prefixes.items():
        getattr(method, attribute).load_state_dict(state(v, start[prefix]))
    first, count = int(v["iter0"]), len(v["img_lb"])
    method.turns = Fixed([0] * first + [int(not turn) for turn in v["teacher1_turn"]])
    optimizer = build_optimizer(
        method.net, OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    for s in range(count):
        cut(monkeypatch, v, v["cutmix_lam"][s], v["cutmix_centres"][s], v["cutmix_perm"][s])
        optimizer.param_groups[0]["lr"] = float(v["lr"][s])
        views = {"weak": torch.from_numpy(v["img_w"][s]), "strong": torch.from_numpy(v["img_s"][s])}
        batch = Batch(torch.from_numpy(v["img_lb"][s]), torch.from_numpy(v["label"][s]).long(), views)
        t = Clock(first + s, int(v["max_iterations"]))
        logs, finite = iterate(fabric, method, batch, {"net": optimizer}, t, Precision("32", fabric.device))
        assert finite
        for log, key in (("loss", "loss"), ("supervised", "loss_lb"), ("consistency", "loss_ulb")):
            assert logs[log].item() == pytest.approx(float(v[key][s]), rel=1e-4)
    for attribute, prefix in prefixes.items():
        end = start[prefix].replace("init", "final")
        for key, value in state(v, end).items():
            if not key.endswith("num_batches_tracked"):
                found = getattr(method, attribute).state_dict()[key]
                np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-6, err_msg=prefix + key)


@pytest.mark.parametrize("case", ["t1", "t2"])
@pytest.mark.parametrize("name", ["ad_mt__losses_3d", "ad_mt__losses_2d"])
def test_votes_and_conflicts(golden, monkeypatch, name, case):
    v = golden(name)
    of = {key.removeprefix(f"{case}__"): value for key, value in v.items() if key.startswith(f"{case}__")}
    vote, conflict = agree(*(torch.from_numpy(of[f"logits_tea{k}"]) for k in (1, 2)))
    swapped, same = agree(*(torch.from_numpy(of[f"logits_tea{k}"]) for k in (2, 1)))
    assert torch.equal(conflict, same)
    torch.testing.assert_close(tuple(vote), tuple(swapped))
    if case == "t2":
        cut(monkeypatch, v, of["cutmix_lam"], of["cutmix_centres"], of["cutmix_perm"])
        boxes = ad_mt.draw_beta_boxes(len(conflict), conflict.shape[1:], device="cpu")
        order = torch.from_numpy(of["cutmix_perm"])
        vote, conflict = vote.pasted(vote.rows(order), boxes), torch.where(boxes, conflict[order], conflict)
    np.testing.assert_array_equal(conflict, of["conflict"])
    sure = (vote.confidence >= float(v["conf_threshold"])).float().mean()
    assert sure.item() == pytest.approx(float(of["high_ratio"]), rel=1e-5)


def test_turns(golden, monkeypatch):
    v = golden("ad_mt__alternate")
    left = iter(v["periods_drawn"].tolist())
    monkeypatch.setattr(Turns, "_draw", lambda self: next(left))
    turns = Turns(int(v["period"]))
    assert [turns.at(step) == 0 for step in range(len(v["states"]))] == (v["states"] == 1).tolist()
