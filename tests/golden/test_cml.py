"""CML against the original scripts: discrepancy, supervision, whole steps with all targets and gradients."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from tests.golden.replay import Vector
from torch import Tensor, nn

from semiseg import networks
from semiseg.core import Batch, Clock, SegOutput
from semiseg.methods import cml
from semiseg.methods.bcp import dice_ce_everywhere
from semiseg.methods.cml import CML, exchange, feature_discrepancy, other_upsampling


def tensor(v: Vector, key: str) -> Tensor:
    x = torch.from_numpy(v[key])
    return x if x.is_floating_point() else x.long()


def test_discrepancy(golden):
    v = golden("cml__discrepancy")
    a, b = (tensor(v, key).requires_grad_() for key in "AB")
    loss = feature_discrepancy(a, b)
    loss.backward()
    assert loss.item() == pytest.approx(float(v["loss_ab"]), rel=1e-5)
    assert feature_discrepancy(b, a).item() == pytest.approx(float(v["loss_ba"]), rel=1e-5)
    np.testing.assert_allclose(a.grad, v["grad_a"], rtol=1e-3, atol=1e-8)
    assert b.grad is None
    assert not v["grad_b"].any()
    flat = feature_discrepancy(tensor(v, "A2d"), tensor(v, "B2d"))
    assert flat.item() == pytest.approx(float(v["loss_2d"]), rel=1e-5)


@pytest.mark.parametrize("number", ["", "4"])
def test_supervision(golden, number):
    v = golden("cml__supervision")
    z = tensor(v, f"logits{number}").requires_grad_()
    loss = dice_ce_everywhere(z, tensor(v, f"label{number}"))
    loss.backward()
    assert loss.item() == pytest.approx(float(v[f"loss{number}"]), rel=1e-5)
    np.testing.assert_allclose(z.grad, v[f"grad{number}"], rtol=1e-3, atol=1e-8)


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def encoder_and_decoder(net: nn.Module) -> tuple[int, int]:
    encoder = count(*(getattr(net, name) for name in net.encoder_parts))
    return encoder, count(net) - encoder


@pytest.mark.parametrize(
    ("name", "dim", "key", "classes"), [("vnet", 3, "vnet", "C3"), ("unet2d", 2, "unet", "C2")]
)
def test_parameters_of_both_networks(golden, name, dim, key, classes):
    v = golden("cml__params")
    with torch.device("meta"):
        make_net = networks.Factory(name, dim=dim, in_channels=1, classes=int(v[classes]))
        first = make_net()
        second = make_net(up=other_upsampling(first))
    parts = v[f"{key}_parts"].tolist()
    if key == "unet":  # the released class has one encoder, used twice
        assert int(v["unet_total"]) == sum(parts)
        parts = [parts[0], *parts]
    else:
        assert int(v["vnet_total"]) == count(first, second)
    (e1, d1), (e2, d2) = encoder_and_decoder(first), encoder_and_decoder(second)
    assert [e1, e2, d1, d2] == parts


class Branch(nn.Module):
    """Gives the stored answers of one branch, in the order of the step, and keeps what it was asked."""

    widths = (1,)

    def __init__(self, v: Vector, number: int) -> None:
        super().__init__()
        keys = ("mixl", "unl", "mixu")
        self.logits = nn.ParameterList(tensor(v, f"{key}_out{number}") for key in keys)
        self.features = nn.ParameterList(tensor(v, f"{key}_feat{number}") for key in keys)
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor) -> SegOutput:
        z, f = self.logits[len(self.asked)] * 1.0, self.features[len(self.asked)] * 1.0
        assert len(x) == len(z)
        self.asked.append(x)
        return SegOutput(z, levels=(f,))


STEPS = ["cml__step_la", "cml__step_acdc"]


def stepped(v: Vector, monkeypatch):
    """The method on stored answers and masks, with the weights in the vector's words; its updates."""
    said = {key: float(value) for key, value in re.findall(r"(\w+)_weight=([\d.]*\d)", str(v["doc"]))}
    masks = iter([tensor(v, "img_mask").bool(), tensor(v, "unimg_mask").bool()])
    monkeypatch.setattr(cml, "draw_mask", lambda size, ratio: next(masks))
    branches = iter([Branch(v, 1), Branch(v, 2)])
    method = CML(
        lambda **choice: next(branches),
        labeled_weight=said["l"],
        unlabeled_weight=said["u"],
        discrepancy_weight=said["dis"],
    )
    volume, label = tensor(v, "volume"), tensor(v, "label")
    n = len(volume) - len(v["unl_out1"])
    updates = list(method.step(Batch(volume[:n], label[:n], {"weak": volume[n:]}), Clock(0, 1, "selftrain")))
    for update in updates:
        update.loss.backward()
    return method, updates


@pytest.mark.parametrize("name", STEPS)
def test_losses_of_a_step(golden, monkeypatch, name):
    v = golden(name)
    method, updates = stepped(v, monkeypatch)
    for update, number, prefix in zip(updates, ["", "2"], ["", "sub_"], strict=True):
        assert update.on == f"net{number}"
        assert update.logs[f"labeled{number}"].item() == pytest.approx(
            float(v[f"{prefix}loss_sup_l"]), rel=1e-5
        )
        assert update.logs[f"unlabeled{number}"].item() == pytest.approx(
            float(v[f"{prefix}loss_sup_u"]), rel=1e-5
        )
    apart = updates[0].logs["discrepancy"] + updates[1].logs["discrepancy2"]
    assert apart.item() == pytest.approx(float(v["loss_dis_l"] + v["loss_dis_u"]), rel=1e-5)
    assert method.discrepancy_weight * apart.item() == pytest.approx(float(v["loss_dis"]), rel=1e-5)
    assert sum(update.loss.item() for update in updates) == pytest.approx(float(v["loss"]), rel=1e-5)


@pytest.mark.parametrize("name", STEPS)
def test_gradients_of_a_step(golden, monkeypatch, name):
    v = golden(name)
    method, _ = stepped(v, monkeypatch)
    for number, branch in enumerate((method.net, method.net2), start=1):
        for i, key in ((0, "mixl"), (2, "mixu")):
            for kind, values in (("out", branch.logits), ("feat", branch.features)):
                wanted = v[f"{key}_grad_{kind}{number}"]
                np.testing.assert_allclose(values[i].grad, wanted, rtol=1e-3, atol=1e-8)
        assert branch.logits[1].grad is None


@pytest.mark.parametrize("name", STEPS)
def test_images_and_targets_of_a_step(golden, monkeypatch, name):
    v = golden(name)
    method, _ = stepped(v, monkeypatch)
    n, k = (len(v[key]) for key in ("mixl_lab", "mixu_plab"))
    label, mask = v["label"][: 2 * n], v["img_mask"]
    np.testing.assert_array_equal(label[:n] * mask + label[n:] * (1 - mask), v["mixl_lab"])
    unlabeled = v["volume"][2 * n :]
    np.testing.assert_array_equal(method.net.asked[1], unlabeled)
    mask = v["unimg_mask"].astype(np.float32)
    mixed = unlabeled[:k] * mask + unlabeled[k:] * (1 - mask)
    np.testing.assert_array_equal(method.net2.asked[2], mixed)

    for branch in (method.net, method.net2):
        branch.asked = [mixed]  # the unlabeled images come next
    labels = method.pseudo_labels(tensor(v, "volume")[2 * n :])
    targets = exchange(*labels, tensor(v, "unimg_mask").bool())
    for ours, key in zip(
        (*labels, *targets), ("plab", "plab_sub", "mixu_plab", "mixu_plab_sub"), strict=True
    ):
        np.testing.assert_array_equal(ours, v[key])
