"""CrossMatch against the authors' statements: all terms, gradients, threshold, optimizer steps, boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from tests.golden.replay import Answers, Tiny, state
from tests.golden.test_unimatch import views

from semiseg.core import Batch, Clock
from semiseg.methods.crossmatch import CrossMatch, swapped_box
from semiseg.methods.parts import branches
from semiseg.settings.config import OptimizerConfig
from semiseg.training.optim import build_optimizer
from semiseg.training.update import Precision, iterate

SCRIPTS = {"la": {"distillation_weight": 1.0, "include_background": False}, "acdc": {}}


class Split(Answers):
    """Stored answers, pass after pass, of clean and disturbed maps together."""

    encoder_parts = ("logits",)

    def encode(self, x):
        return [x]

    def decode(self, maps):
        return maps

    def classify(self, features):
        logits = self.logits[len(self.asked)]
        assert len(features) == len(logits)
        self.asked.append(features)
        return logits * 1.0


def boxes(monkeypatch, method, *stored):
    left = iter([torch.from_numpy(b).bool() for b in stored])
    monkeypatch.setattr(method, "draw", lambda images: next(left))


def method_of(name, v, make_net, **options):
    fixed = {"eta": float(v["eta"]), "smooth": float(v["dice_eps"]), **SCRIPTS[name]}
    return CrossMatch(make_net, **fixed, **options)


def assert_terms(logs, v, step=()):
    told = {
        "supervised": "loss_x",
        "strong": "loss_u_s1",
        "strong2": "loss_u_s2",
        "distilled": "loss_u_w_kd",
        "loss": "loss",
    }
    for log, key in told.items():
        assert logs[log].item() == pytest.approx(float(v[key][step]), rel=1e-4), key


@pytest.mark.parametrize("name", ["la", "acdc"])
def test_losses_and_gradients(golden, monkeypatch, name):
    v = golden(f"crossmatch__losses_{name}")
    passes = [
        ["mix", "mix_weak", "mix_strong"],
        ["x", "w", "w_weak", "w_strong"],
        ["s1", "s2", "s2_weak", "s2_strong"],
    ]
    logits = [np.concatenate([v[f"logits_{key}"] for key in keys]) for keys in passes]
    method = method_of(name, v, lambda: Split(*logits), tau=float(v["conf_thresh"]))
    boxes(monkeypatch, method, v["box1"], v["box2"])
    label = torch.from_numpy(v["label"]).long()
    x = torch.zeros((len(label), 1, *label.shape[1:]))
    images = {view: torch.cat([x, x]) for view in method.views}
    (update,) = method.step(Batch(x, label, images), Clock(int(v["iter_num"]), 14000))
    update.loss.backward()
    assert_terms({**update.logs, "loss": update.loss}, v)
    partner, own, strong = method.main.logits
    assert partner.grad is None
    n = len(label)
    assert not own.grad[n : 2 * n].any()
    for p, keys in ((own, passes[1]), (strong, passes[2])):
        for i, key in enumerate(keys):
            if key != "w":
                wanted = v[f"grad_{key}"]
                np.testing.assert_allclose(
                    p.grad[i * n : (i + 1) * n], wanted, rtol=1e-3, atol=1e-8, err_msg=key
                )


@pytest.mark.parametrize("name", ["la", "acdc"])
def test_optimizer_steps(golden, monkeypatch, name):
    v = golden(f"crossmatch__steps_{name}")
    start = next(key for key in v if key.endswith("conv1.weight")).removesuffix("conv1.weight")
    weights = state(v, start)
    released = {"tau": float(v["conf_thresh_used"][0])}
    if name == "la":
        released |= {"threshold": "released", "horizon": int(v["lr_horizon"])}
        optimizer_of = OptimizerConfig(name="adamw", lr=float(v["base_lr"]), weight_decay=1e-4)
    else:
        optimizer_of = OptimizerConfig(
            name="sgd", lr=float(v["base_lr"]), momentum=0.9, weight_decay=1e-4, nesterov=True
        )

    def make_net():
        net = Tiny(weights)
        if "conv1.bias" not in weights:
            net.conv1.bias = None
        return net

    method = method_of(name, v, make_net, **released)
    method.main.load_state_dict(weights)
    optimizer = build_optimizer(method.net, optimizer_of)
    fabric = Fabric(accelerator="cpu", devices=1)
    for s in range(len(v["lr"])):
        t = Clock(int(v["iter0"]) + s, 14000)
        assert method.tau_at(t) == pytest.approx(float(v["conf_thresh_used"][s]), rel=1e-6)
        boxes(monkeypatch, method, v["box1"][s], v["box2"][s])
        left = iter(torch.from_numpy(v["fp_masks"][s]).flatten(0, 1))
        monkeypatch.setattr(branches, "channel_dropout", lambda x, *, rate, left=left: x * next(left))
        optimizer.param_groups[0]["lr"] = float(v["lr"][s])
        batch = Batch(torch.from_numpy(v["img_x"][s]), torch.from_numpy(v["label"][s]).long(), views(v, s))
        logs, finite = iterate(fabric, method, batch, {"net": optimizer}, t, Precision("32", fabric.device))
        assert finite
        assert_terms(logs, v, s)
    for key, value in state(v, start.replace("init", "final")).items():
        found = method.main.state_dict()[key]
        np.testing.assert_allclose(found, value, rtol=1e-3, atol=2e-6, err_msg=key)


def test_the_next_threshold_of_the_release(golden):
    v = golden("crossmatch__losses_la")
    method = method_of(
        "la", v, lambda: Tiny(state(golden("crossmatch__steps_la"), "init__")), threshold="released"
    )
    found = method.tau_at(Clock(int(v["iter_num"]) + 1, 14000))
    assert found == pytest.approx(float(v["conf_thresh_next"]), rel=1e-9)


def test_boxes_of_the_release(golden):
    v = golden("crossmatch__cutmix_box_la")
    size = v["img_size"].tolist()
    for share, ratio, *numbers in v["boxes"]:
        starts, begin, end = np.split(np.asarray(numbers, int), 3)
        mask = np.zeros(size, bool)
        mask[swapped_box(size, share, ratio, starts.tolist())] = True
        if not mask.any():
            assert not end.any()
            continue
        where = np.nonzero(mask)
        assert [int(w.min()) for w in where] == begin.tolist()
        assert [int(w.max()) + 1 for w in where] == end.tolist()
