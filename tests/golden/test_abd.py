"""ABD against the original scripts: displaced images, losses and gradients of both forms, whole steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers, Tiny, Vector, state, stepped, tensor
from torch import Tensor

from semiseg.core import Batch, Clock
from semiseg.methods import abd_bcp
from semiseg.methods.abd import ABD
from semiseg.methods.abd_bcp import ABDBCP
from semiseg.methods.parts.displacement import displaced, grid_of, replace_sure, replace_unsure
from semiseg.settings.config import OptimizerConfig, ScheduleConfig
from semiseg.training.optim import lr_factor

TOTAL = 30_000
"""Iterations of the scripts."""


def given(v: Vector) -> tuple[list[Tensor], list[Tensor], tuple[int, ...]]:
    """Logits and images of both views, and the grid."""
    grid = (int(v["h_size"]), int(v["w_size"]))
    images = [tensor(v, f"image{i}") for i in (1, 2)]
    assert grid_of(images[0].shape[2:], grid[0]) == grid
    assert images[0].shape[2] // grid[0] == int(v["patch_size"])
    return [tensor(v, f"logits{i}") for i in (1, 2)], images, grid


def test_unsure_patches_are_replaced(golden):
    v = golden("abd__displace_r")
    logits, images, grid = given(v)
    n = int(v["labeled_bs"])
    moves = replace_unsure(*(z[n:] for z in logits), grid, top=int(v["top_num"]))
    found = torch.cat(displaced(*(x[n:] for x in images), moves, grid))
    np.testing.assert_array_equal(found[:, 0], v["image"])


def test_unsure_patches_of_pasted_images_are_replaced(golden):
    v = golden("abd__displace_r_bcp")
    logits, images, grid = given(v)
    near = torch.from_numpy(v["coins"] < 0.5)
    assert 0 < near.float().mean() < 1
    moves = replace_unsure(*logits, grid, top=int(v["top_num"]), near=near)
    np.testing.assert_array_equal(torch.cat(displaced(*images, moves, grid))[:, 0], v["image"])


def test_sure_patches_are_replaced_with_their_labels(golden):
    v = golden("abd__displace_i")
    logits, images, grid = given(v)
    n = int(v["labeled_bs"])
    moves = replace_sure(*(z[:n] for z in logits), grid, torch.from_numpy(v["coins"] < 0.5))
    found = torch.cat(displaced(*(x[:n] for x in images), moves, grid))
    np.testing.assert_array_equal(found[:, 0], v["image"])
    labels = [tensor(v, f"label{i}")[:n, None] for i in (1, 2)]
    np.testing.assert_array_equal(torch.cat(displaced(*labels, moves, grid))[:, 0], v["label"])


class Released(ABD):
    """The labels of the strong view are its own, as cut out in the release; the draws are the vector's."""

    def __init__(self, v: Vector, *networks: torch.nn.Module) -> None:
        left = iter(networks)
        super().__init__(
            lambda **choice: next(left),
            grid=int(v["h_size"]),
            top=int(v["top_num"]),
            ramp=200 * 150,
            ramp_unit=150,
        )
        self.v, self.n, self.at = v, int(v["labeled_bs"]), 0

    def labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return tuple(tensor(self.v, f"label{i}")[self.at, : self.n] for i in (1, 2))

    def draw(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.v["coins"][self.at] < 0.5)

    def batch(self, i: int) -> Batch:
        self.at, n = i, self.n
        weak, strong = (tensor(self.v, f"image{k}")[i] for k in (1, 2))
        unlabeled = {"weak": weak[n:], "strong": strong[n:]}
        return Batch(weak[:n], torch.zeros(0), unlabeled, views_l={"strong": strong[:n]})


@pytest.mark.parametrize("i", [0, 1])
def test_losses_and_gradients(golden, i):
    v = golden("abd__losses_ct")
    kinds = ("weak", "i", "r"), ("strong", "i", "r")
    k = int(v["iters"][i])
    over = k > 20_000  # then the displaced labeled images are not shown any more
    networks = [
        Answers(*(v[f"logits_m{m}_{kind}"][i] for kind in names if not (over and kind == "i")))
        for m, names in enumerate(kinds, start=1)
    ]
    method = Released(v, *networks)
    updates = list(method.step(method.batch(i), Clock(k, TOTAL)))
    for m, (update, names, number) in enumerate(zip(updates, kinds, ["", "2"], strict=True), start=1):
        update.loss.backward()
        logs = {key.removesuffix(number): value.item() for key, value in update.logs.items()}
        supervised = float(v[f"loss{m}"][i]) + method.displaced_weight * float(v[f"loss{m + 2}"][i])
        assert logs["supervised"] == pytest.approx(supervised, rel=1e-5)
        lesson = float(v[f"pseudo_supervision{m}"][i] + v[f"pseudo_supervision{m + 2}"][i])
        assert logs["consistency"] == pytest.approx(lesson, rel=1e-5)
        assert logs["weight"] == pytest.approx(float(v["consistency_weight"][i]), rel=1e-5)
        assert update.loss.item() == pytest.approx(float(v[f"model{m}_loss"][i]), rel=1e-5)
        left = iter(networks[m - 1].logits)
        for kind in names:
            wanted = v[f"grad_m{m}_{kind}"][i]
            if over and kind == "i":
                assert not wanted.any()
            else:
                np.testing.assert_allclose(next(left).grad, wanted, rtol=1e-3, atol=1e-8)
        asked = networks[m - 1].asked
        np.testing.assert_array_equal(asked[-1], v["input_r"][i])
        assert len(asked) == 3 - over
    factor = lr_factor(ScheduleConfig(name="poly", power=0.9), k + 1, TOTAL)
    assert 0.01 * factor == pytest.approx(float(v["lr_next"][i]), rel=1e-6)


def test_optimizer_steps_equal_the_original_loop(golden):
    v = golden("abd__steps_ct")
    method = Released(v, *(Tiny(state(v, f"model{m}_init__")) for m in (1, 2)))
    method.net.load_state_dict(state(v, "model1_init__"))
    method.net2.load_state_dict(state(v, "model2_init__"))
    steps = ((method.batch(i), Clock(int(k), TOTAL), float(v["lr"][i])) for i, k in enumerate(v["iters"]))
    kind = OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)
    for i, logs in enumerate(stepped(method, steps, kind)):
        assert logs["loss"].item() == pytest.approx(float(v["loss"][i]), rel=1e-4)
    for network, m in (
        (method.net, 1),
        (method.net2, 2),
    ):  # running statistics: the last step has a pass less
        wanted = state(v, f"model{m}_final__")
        for key, p in network.named_parameters():
            np.testing.assert_allclose(p.detach(), wanted[key], rtol=1e-4, atol=1e-6, err_msg=key)


class ReleasedBCP(ABDBCP):
    """As :class:`Released`."""

    def __init__(self, v: Vector, *networks: torch.nn.Module) -> None:
        left = iter(networks)
        super().__init__(
            lambda: next(left),
            alpha=float(v["u_weight"]),
            dice="acdc_legacy",
            grid=int(v["h_size"]),
            top=int(v["top_num"]),
        )
        self.v = v

    def labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return tuple(torch.cat([tensor(self.v, f"lab_{k}{s}") for k in "ab"]) for s in ("", "_s"))

    def draw(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.v["coins"] < 0.5)


def test_losses_and_gradients_on_bcp(golden, monkeypatch, caplog):
    v = golden("abd__losses_bcp")
    kinds = ("unl", "l", "r")
    networks = [Answers(*(v[f"logits_m{m}_{kind}"] for kind in kinds)) for m in (1, 2)]
    method = ReleasedBCP(v, *networks)
    assert len(method.deviations) == 1
    teacher = Answers(*(v[f"logits_t_{k}{s}"] for s in ("", "_s") for k in "ab"))
    method.teacher = teacher.requires_grad_(False)
    monkeypatch.setattr(abd_bcp, "draw_mask", lambda *_: torch.from_numpy(v["mask"]).bool())
    weak, strong, u_weak, u_strong = (
        torch.cat([tensor(v, f"{name}_{k}{s}") for k in "ab"]) for name in ("img", "uimg") for s in ("", "_s")
    )
    batch = Batch(weak, torch.zeros(0), {"weak": u_weak, "strong": u_strong}, views_l={"strong": strong})
    updates = list(method.step(batch, Clock(0, 10, "selftrain")))
    np.testing.assert_array_equal(networks[0].asked[-1], v["input_r"])
    for m, (update, network, number) in enumerate(zip(updates, networks, ["", "2"], strict=True), start=1):
        update.loss.backward()
        logs = {key.removesuffix(number): value.item() for key, value in update.logs.items()}
        mixed = 0.5 * float(v[f"loss_dice_{m}"] + v[f"loss_ce_{m}"])
        assert logs["pasted"] == pytest.approx(mixed, rel=1e-5)
        assert logs["cross"] == pytest.approx(float(v[f"pseudo_supervision{m}"]), rel=1e-5)
        assert logs["displaced"] == pytest.approx(float(v[f"pseudo_supervision{m + 2}"]), rel=1e-5)
        assert update.loss.item() == pytest.approx(float(v[f"loss_{m}"]), rel=1e-5)
        for z, kind in zip(network.logits, kinds, strict=True):
            np.testing.assert_allclose(z.grad, v[f"grad_m{m}_{kind}"], rtol=1e-3, atol=1e-8)
    labels = [q for x in (u_weak, u_strong) for q in method.pseudo_labels(x[:1], x[1:])]
    for found, key in zip(labels, ("plab_a", "plab_b", "plab_a_s", "plab_b_s"), strict=True):
        np.testing.assert_array_equal(found, v[key])
