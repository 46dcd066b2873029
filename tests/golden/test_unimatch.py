"""UniMatch against the authors' statements: mixed labels, losses, gradients, optimizer steps, boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from tests.golden.replay import Answers, Tiny, state

from semiseg.core import Batch, Clock
from semiseg.methods import unimatch
from semiseg.methods.parts import branches
from semiseg.methods.parts.cutmix import Taught, sides
from semiseg.methods.unimatch import UniMatch
from semiseg.settings.config import OptimizerConfig
from semiseg.training.optim import build_optimizer
from semiseg.training.update import Precision, iterate


class Split(Answers):
    """Stored answers of the two passes without disturbed maps, and of the one with them."""

    encoder_parts = ("logits",)

    def __init__(self, plain: list[np.ndarray], disturbed: list[np.ndarray]) -> None:
        super().__init__(*plain)
        self.disturbed = torch.nn.ParameterList([torch.from_numpy(z) for z in disturbed])

    def encode(self, x):
        return [x]

    def decode(self, maps):
        return maps

    def classify(self, features):
        assert len(features) == sum(map(len, self.disturbed))
        return torch.cat(list(self.disturbed)) * 1.0


def views(v, step=()):
    """Own samples and partners, one after the other."""
    names = {"weak": "u_w", "strong": "u_s1", "strong2": "u_s2"}
    prefix = "img_" if "img_u_w" in v else ""  # CrossMatch stores all steps so, UniMatch one alone
    return {
        view: torch.from_numpy(np.concatenate([v[f"{prefix}{name}"][step], v[f"{prefix}{name}_mix"][step]]))
        for view, name in names.items()
    }


def boxes(monkeypatch, *stored):
    left = iter([torch.from_numpy(b).bool() for b in stored])
    monkeypatch.setattr(unimatch, "draw_boxes", lambda *args, **options: next(left))


@pytest.mark.parametrize("case", ["a", "none_confident"])
@pytest.mark.parametrize("name", ["unimatch__losses_2d", "unimatch__losses_3d"])
def test_losses_and_gradients(golden, monkeypatch, name, case):
    v = golden(name)
    z = {key: v[f"{case}__logits_{key}"] for key in ("x", "u_w", "u_w_mix", "u_s1", "u_s2", "u_w_fp")}
    strong = np.concatenate([z["u_s1"], z["u_s2"]])
    net = Split([z["u_w_mix"], strong], [z["x"], z["u_w"], z["u_w_fp"]])
    method = UniMatch(lambda: net, tau=float(v["conf_thresh"]))
    boxes(monkeypatch, v["box1"], v["box2"])
    label = torch.from_numpy(v["label"]).long()
    batch = Batch(torch.zeros((len(label), 1, *label.shape[1:])), label, views(v))
    (update,) = method.step(batch, Clock(0, 10))
    update.loss.backward()

    np.testing.assert_array_equal(net.asked[1], v["strong_input"])
    assert update.loss.item() == pytest.approx(float(v[f"{case}__loss"]), rel=1e-5)
    told = {"supervised": "loss_x", "strong": "loss_u_s1", "strong2": "loss_u_s2", "features": "loss_u_w_fp"}
    for log, key in {**told, "sure": "mask_ratio"}.items():
        assert update.logs[log].item() == pytest.approx(float(v[f"{case}__{key}"]), rel=1e-5, abs=1e-7)
    x, u_w, fp = net.disturbed
    assert u_w.grad is None or not u_w.grad.any()
    mix, learned = net.logits
    assert mix.grad is None
    expected = np.concatenate([v[f"{case}__grad_u_s1"], v[f"{case}__grad_u_s2"]])
    for p, wanted in ((x, v[f"{case}__grad_x"]), (fp, v[f"{case}__grad_u_w_fp"]), (learned, expected)):
        np.testing.assert_allclose(p.grad, wanted, rtol=1e-3, atol=1e-8)

    own, partner = Taught.of(torch.from_numpy(z["u_w"])), Taught.of(torch.from_numpy(z["u_w_mix"]))
    for k in (1, 2):
        mixed = own.pasted(partner, torch.from_numpy(v[f"box{k}"]).bool())
        np.testing.assert_array_equal(mixed.classes, v[f"{case}__mask_u_w_cutmixed{k}"])
        np.testing.assert_allclose(mixed.confidence, v[f"{case}__conf_u_w_cutmixed{k}"], rtol=1e-5)


@pytest.mark.parametrize("name", ["unimatch__steps", "unimatch__steps_3d"])
def test_optimizer_steps(golden, monkeypatch, name):
    v = golden(name)
    weights = state(v, "init__")
    method = UniMatch(lambda: Tiny(weights), tau=float(v["conf_thresh"]))
    method.main.load_state_dict(weights)
    sgd = {"momentum": float(v["momentum"]), "weight_decay": float(v["weight_decay"])}
    optimizer = build_optimizer(method.net, OptimizerConfig(name="sgd", lr=float(v["base_lr"]), **sgd))
    fabric = Fabric(accelerator="cpu", devices=1)
    for s, lr in enumerate(v["lr"]):
        boxes(monkeypatch, v["box1"][s], v["box2"][s])
        dropped = torch.from_numpy(v["fp_mask"][s])
        monkeypatch.setattr(branches, "channel_dropout", lambda x, *, rate, dropped=dropped: x * dropped)
        optimizer.param_groups[0]["lr"] = float(lr)
        batch = Batch(torch.from_numpy(v["x"][s]), torch.from_numpy(v["y"][s]).long(), views(v, s))
        logs, finite = iterate(
            fabric, method, batch, {"net": optimizer}, Clock(s, 10), Precision("32", fabric.device)
        )
        assert finite
        for log, key in (("loss", "loss"), ("strong", "loss_u_s1"), ("features", "loss_u_w_fp")):
            assert logs[log].item() == pytest.approx(float(v[key][s]), rel=1e-4)
        assert logs["sure"].item() == pytest.approx(float(v["mask_ratio"][s]), rel=1e-5)
    for key, value in state(v, "final__").items():
        np.testing.assert_allclose(method.main.state_dict()[key], value, rtol=1e-4, atol=1e-6, err_msg=key)


def test_sides_of_boxes(golden):
    v = golden("unimatch__cutmix_box")
    size = (int(v["img_size"]),) * 2
    for area, ratio, _, _, _, _, height, width, _ in v["boxes"]:
        assert sides(size, area, ratio) == (height, width)
