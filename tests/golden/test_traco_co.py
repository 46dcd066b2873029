"""TraCoCo against the original scripts: places of two crops, all losses and gradients, whole steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers, Tiny, Vector, assert_weights, state, stepped, tensor
from torch import Tensor

from semiseg.core import SHIFTED, Batch, Clock
from semiseg.methods.parts.mixing import columns, overlap
from semiseg.methods.traco_co import TraCoCo
from semiseg.settings.config import OptimizerConfig, ScheduleConfig
from semiseg.training.optim import lr_factor


def bounds(boxes) -> list[int]:
    return [edge for box in boxes for edge in (box.start, box.stop)]


def test_where_two_crops_overlap(golden):
    v = golden("traco_co__crop_ranges")
    size = v["patch"].tolist()
    for row in v["ranges"].tolist():
        here, there = overlap([b - a for a, b in zip(row[:3], row[3:6], strict=True)], size)
        assert bounds(here) + bounds(there) == row[6:]


class Released(TraCoCo):
    """The released forms with the noise and the boxes of a vector; ``at`` is the step."""

    def __init__(self, v: Vector, *networks: torch.nn.Module, **options) -> None:
        left = iter(networks)
        super().__init__(
            lambda: next(left),
            weight=float(v["unsup_weight"]),
            threshold=float(v["threshold"]),
            translation_weight=float(v["spatial_weight"]),
            entropy_weight=float(v["hyp"]),
            translation="released",
            negative="released",
            ramp=int(v["iter_per_epoch"]) * int(v["rampup_length"]),
            include_background=v["n_classes"] > 2,
            **options,
        )
        self.v, self.n = v, int(v["labeled_bs"])

    def batch(self, v: Vector) -> Batch:
        """Of one step, whose draws begin anew."""
        x, other, n = tensor(v, "volume"), tensor(v, "cons_volume"), self.n
        self.noise_left, self.boxes_left = iter(tensor(v, "noise")), iter(range(len(v["perm"])))
        self.now = v
        first, second = v["normal_range"], v["cons_range"]
        shift = (
            first[:, 0] - second[:, 0]
        ).T  # the second crop begins after the first if it is seen from there
        moved = [tuple(int(s) for s in row) for row in shift]
        for i, row in enumerate(moved):
            here, there = overlap(row, x.shape[2:])
            assert bounds(here) == first[:, :, i].flatten().tolist()
            assert bounds(there) == second[:, :, i].flatten().tolist()
        return Batch(
            x[:n],
            tensor(v, "label")[:n],
            {"weak": x[n:], SHIFTED: other[n:]},
            views_l={SHIFTED: other[:n]},
            shifts={"labeled": moved[:n], "unlabeled": moved[n:]},
        )

    def noisy(self, x: Tensor) -> Tensor:
        noisy = x + next(self.noise_left)
        return noisy.clamp(0, 1) if self.clamp else noisy

    def cut_mix(self, x: Tensor, taught: Tensor) -> tuple[Tensor, Tensor]:
        i = next(self.boxes_left)
        partner = tensor(self.now, "perm")[i]
        size = x.shape[2:]
        half = [int(edge * np.sqrt(1 - float(self.now["cutmix_lam"][i]))) // 2 for edge in size[:2]]
        boxes = columns(size, self.now["cutmix_centres"][i].T.tolist(), [half] * len(x))
        return torch.where(boxes, x[partner], x), torch.where(boxes, taught[partner], taught)


OPTIONS = {"la": {}, "pancreas": {"clamp": True}, "acdc": {"cut": "both", "clean": True, "dice": True}}
PASSES = (("sup1", "cons1", "unsup1", "pl_for2"), ("pl_for1", "sup2", "cons2", "unsup2"))


@pytest.mark.parametrize("name", ["la", "acdc"])
def test_losses_and_gradients(golden, name):
    v = golden(f"traco_co__losses_{name}")
    networks = [Answers(*(v[f"logits_{kind}"] for kind in kinds)) for kinds in PASSES]
    method = Released(v, *networks, **OPTIONS[name])
    assert len(method.deviations) == 2
    t = Clock(int(v["iter_first"]), int(v["max_iterations"]))
    updates = list(method.step(method.batch(v), t))
    for m, (update, network, kinds, number) in enumerate(
        zip(updates, networks, PASSES, ["", "2"], strict=True), start=1
    ):
        update.loss.backward()
        logs = {key.removesuffix(number): value.item() for key, value in update.logs.items()}
        for ours, theirs in (
            ("supervised", f"loss{m}_sup"),
            ("translation", f"spatial_loss{m}"),
            ("weight", "consistency_weight"),
        ):
            assert logs[ours] == pytest.approx(float(np.squeeze(v[theirs])), rel=1e-5), ours
        same = method.translation_weight * logs["translation"] + method.entropy_weight * logs["entropy"]
        assert same == pytest.approx(float(v[f"loss{m}_trans"][0]), rel=1e-4)
        assert logs["lesson"] + same == pytest.approx(float(v[f"loss{m}_unsup"][0]), rel=1e-5)
        if name == "acdc":
            lesson = 0.5 * (float(v[f"loss{m}_cbc"]) + float(v[f"unsup_loss_dice_{m}"]))
            assert logs["lesson"] == pytest.approx(lesson, rel=1e-5)
        assert update.loss.item() == pytest.approx(float(v[f"loss{m}"][0]), rel=1e-5)
        for z, kind in zip(network.logits, kinds, strict=True):
            if kind.startswith("pl"):
                assert z.grad is None
            else:
                np.testing.assert_allclose(z.grad, v[f"grad_{kind}"], rtol=1e-3, atol=1e-8)
    factor = lr_factor(ScheduleConfig(name="poly", power=0.9), t.step, t.total)
    assert float(v["learning_rate"]) * factor == pytest.approx(float(v["current_lr"]), rel=1e-6)


@pytest.mark.parametrize("name", ["la", "acdc"])
def test_images_and_labels_after_cutmix(golden, name):
    v = golden(f"traco_co__losses_{name}")
    networks = [Answers(*(v[f"logits_{kind}"] for kind in kinds)) for kinds in PASSES]
    method = Released(v, *networks, **OPTIONS[name])
    seen: list[tuple[Tensor, Tensor]] = []
    cut_mix = method.cut_mix
    method.cut_mix = lambda *pair: seen.append(cut_mix(*pair)) or seen[-1]
    list(method.step(method.batch(v), Clock(0, 10)))
    for m, (x, taught) in zip((1, 2)[-len(seen) :], seen, strict=True):
        np.testing.assert_array_equal(x, v[f"cut_mix_input{m}"])
        np.testing.assert_allclose(taught, v[f"cut_mix_output{m}"])


@pytest.mark.parametrize("name", ["la", "pancreas"])
def test_optimizer_steps_equal_the_original_loop(golden, name):
    v = golden(f"traco_co__steps_{name}")
    networks = [Tiny(state(v, f"model{m}_init__")) for m in (1, 2)]
    for network, m in zip(networks, (1, 2), strict=True):
        network.load_state_dict(state(v, f"model{m}_init__"))
    method = Released(v, *networks, **OPTIONS[name])
    keys = ("volume", "cons_volume", "label", "normal_range", "cons_range")
    keys = (*keys, "noise", "perm", "cutmix_lam", "cutmix_centres")
    steps = (
        (
            method.batch({key: v[key][s] for key in keys}),
            Clock(int(v["iter_first"]) + s, int(v["max_iterations"])),
            float(v["current_lr"][s]),
        )
        for s in range(len(v["volume"]))
    )
    kind = OptimizerConfig(name="sgd", lr=float(v["learning_rate"]), momentum=0.9, weight_decay=1e-4)
    for s, logs in enumerate(stepped(method, steps, kind)):
        assert logs["loss"].item() == pytest.approx(float(v["loss1"][s, 0] + v["loss2"][s, 0]), rel=1e-4)
        assert logs["weight"].item() == pytest.approx(float(v["consistency_weight"][s]), rel=1e-5)
    for m, network in enumerate(networks, start=1):
        assert_weights(network, v, f"model{m}_final__")
