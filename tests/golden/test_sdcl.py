"""SDCL against the original scripts: all losses and gradients of a step, and three whole steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers, Tiny, Vector, assert_weights, state, stepped, tensor

from semiseg.core import Batch, Clock
from semiseg.methods import sdcl
from semiseg.methods.sdcl import SDCL
from semiseg.settings.config import OptimizerConfig

HERE = Clock(0, 10, "selftrain")


class TinyWithoutBias(Tiny):
    """The test network of these vectors: its first convolution has no bias."""

    def __init__(self, weights) -> None:
        super().__init__(weights)
        self.conv1.bias = None


def method_of(v: Vector, *networks: torch.nn.Module, average: str) -> SDCL:
    left = iter(networks)
    return SDCL(
        lambda **choice: next(left),
        alpha=float(v["u_weight"]),
        review_weight=float(v["mse_weight"]),
        rectify_weight=float(v["kl_weight"]),
        decay=float(v["ema_decay"]),
        dice="la" if "LA form" in str(v["dice"]) else "acdc",
        average=average,
    )


def with_mask(monkeypatch, *masks: np.ndarray) -> None:
    left = iter(masks)
    monkeypatch.setattr(sdcl, "draw_mask", lambda *_: torch.from_numpy(next(left)).bool())


@pytest.mark.parametrize("name", ["la", "acdc"])
def test_losses_and_gradients(golden, monkeypatch, name):
    v = golden(f"sdcl__losses_{name}")
    students = [Answers(v[f"logits_n{k}_l"], v[f"logits_n{k}_u"]) for k in (1, 2)]
    method = method_of(v, *students, average="all")
    method.teacher = Answers(v["logits_t_a"], v["logits_t_b"]).requires_grad_(False)
    with_mask(monkeypatch, v["mask"])
    y = torch.cat([tensor(v, "lab_a"), tensor(v, "lab_b")])
    x = torch.zeros((len(y), 1, *y.shape[1:]))
    labels = method.pseudo_labels(x[: len(y) // 2], x[: len(y) // 2])
    for found, key in zip(labels, ("pseudo_a", "pseudo_b"), strict=True):
        np.testing.assert_array_equal(found, v[key])
    updates = list(method.step(Batch(x, y, {"weak": x}), HERE))
    for k, (update, number) in enumerate(zip(updates, ["", "2"], strict=True), start=1):
        update.loss.backward()
        logs = {key.removesuffix(number): value.item() for key, value in update.logs.items()}
        assert logs["pasted"] == pytest.approx(float(v[f"bcp_l_{k}"] + v[f"bcp_u_{k}"]), rel=1e-5)
        for ours, theirs in (("review", "mse"), ("rectify", "kl")):
            wanted = sum(float(v[f"net{k}_{theirs}_loss_{kind}"]) for kind in ("lab", "unlab"))
            assert logs[ours] == pytest.approx(wanted, rel=1e-5)
        assert logs["disagree"] == pytest.approx((v["diff_l"].mean() + v["diff_u"].mean()) / 2, rel=1e-5)
        assert update.loss.item() == pytest.approx(float(v[f"loss{k}"]), rel=1e-5)
        for z, kind in zip(students[k - 1].logits, "lu", strict=True):
            np.testing.assert_allclose(z.grad, v[f"grad_n{k}_{kind}"], rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize(("name", "average"), [("la", "parameters"), ("acdc", "all")])
def test_optimizer_steps_equal_the_original_loop(golden, monkeypatch, name, average):
    v = golden(f"sdcl__steps_{name}")
    networks = [TinyWithoutBias(state(v, f"net{k}_init__")) for k in (1, 2)]
    method = method_of(v, *networks, average=average)
    for network, key in ((method.net, "net1"), (method.net2, "net2"), (method.teacher, "teacher")):
        network.load_state_dict(state(v, f"{key}_init__"))
    with_mask(monkeypatch, *v["mask"])
    steps = [
        (
            Batch(
                torch.cat([tensor(v, "img_a")[s], tensor(v, "img_b")[s]]),
                torch.cat([tensor(v, "lab_a")[s], tensor(v, "lab_b")[s]]),
                {"weak": torch.cat([tensor(v, "unimg_a")[s], tensor(v, "unimg_b")[s]])},
            ),
            HERE,
            1e-3,
        )
        for s in range(len(v["mask"]))
    ]
    kind = OptimizerConfig(name="adam", lr=1e-3, weight_decay=0.0)
    for s, logs in enumerate(stepped(method, steps, kind)):
        both = logs["loss"].item()
        assert both == pytest.approx(float(v["loss1"][s] + v["loss2"][s]), rel=1e-4)
    assert_weights(method.net, v, "net1_final__")
    assert_weights(method.net2, v, "net2_final__")
    if average == "parameters":  # the vector's network has buffers, which the published one has not
        wanted = state(v, "teacher_final__")
        for key, p in method.teacher.named_parameters():
            np.testing.assert_allclose(p, wanted[key], rtol=1e-4, atol=1e-6)
    else:
        method.teacher.bn1.num_batches_tracked.copy_(wanted_count(v))  # a counter is no average
        assert_weights(method.teacher, v, "teacher_final__")


def wanted_count(v: Vector) -> torch.Tensor:
    return torch.as_tensor(v["teacher_final__bn1.num_batches_tracked"])
