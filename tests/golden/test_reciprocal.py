"""Reciprocal learning against the original loop: gradients, feedback, losses and weights of every step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from tests.golden.replay import Vector, state
from torch import Tensor, nn

from semiseg.core import Batch, Clock, SegOutput, Update
from semiseg.losses import dice_loss
from semiseg.methods.reciprocal import Reciprocal
from semiseg.training.update import Precision, iterate

close = dict(rtol=1e-3, atol=1e-7)


class Toy(nn.Module):
    """The vectors' network: conv3 - tanh - conv1."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        first, last = weights["c1.weight"], weights["c2.weight"]
        conv = nn.Conv2d if first.ndim == 4 else nn.Conv3d
        self.c1 = conv(first.shape[1], first.shape[0], 3, padding=1)
        self.c2 = conv(last.shape[1], last.shape[0], 1)
        self.load_state_dict(weights)

    def forward(self, x: Tensor) -> SegOutput:
        return SegOutput(self.c2(torch.tanh(self.c1(x))))


class Watched(Reciprocal):
    """Keeps its updates, in which the engine leaves the gradients."""

    seen: list[Update]

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        self.seen = []
        for update in super().step(batch, t):
            self.seen.append(update)
            yield update


def flat(v: Vector, prefix: str, network: nn.Module) -> np.ndarray:
    stored = state(v, prefix)
    return torch.cat([stored[name].flatten() for name, _ in network.named_parameters()]).numpy()


def batch_of(v: Vector, s: int, labels: Tensor | None = None) -> Batch:
    n, images = int(v["labeled_bs"]), torch.from_numpy(v[f"s{s}_volume"])
    y = torch.from_numpy(v[f"s{s}_label"]).long() if labels is None else labels
    return Batch(images[:n], y[:n], {"weak": images[n:]})


def weights(network: nn.Module) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()


@pytest.mark.parametrize("clip", [None, 0.01])
def test_steps_equal_the_original_loop(golden, clip):
    v = golden("rlsss__feedback_steps")
    left = iter([state(v, "student0."), state(v, "teacher0.")])
    method = Watched(lambda: Toy(next(left)))
    rate = float(v["lr"])
    options = {"lr": rate, "momentum": float(v["momentum"]), "weight_decay": float(v["weight_decay"])}
    optimizers = {
        name: torch.optim.SGD(getattr(method, name).parameters(), **options) for name in method.trainable
    }
    fabric = Fabric(accelerator="cpu", devices=1)
    for s in range(int(v["steps"])):
        with torch.no_grad():
            pseudo = method.teacher(batch_of(v, s).x_u["weak"]).logits.argmax(1)
        t, precision = Clock(s, int(v["steps"])), Precision("32", fabric.device)
        logs, finite = iterate(fabric, method, batch_of(v, s), optimizers, t, precision, clip=clip)
        assert finite
        stepped, looked, taught = method.seen
        g_u, g_l = stepped.gradient, looked.gradient
        np.testing.assert_array_equal(pseudo, v[f"s{s}_pseudo"])
        assert g_u.lr == g_l.lr == rate
        np.testing.assert_allclose(g_u.vector, flat(v, f"s{s}_gs_unl.", method.student), **close)
        if clip:  # the feedback is that of the first step, which is clipped only afterwards
            assert logs["feedback"].item() == pytest.approx(
                rate * torch.dot(g_u.vector, g_l.vector).item(), rel=1e-5
            )
            return
        np.testing.assert_allclose(g_l.vector, flat(v, f"s{s}_gs_lab.", method.student), **close)
        dot = torch.dot(g_u.vector, g_l.vector).item()
        assert dot == pytest.approx(float(v[f"s{s}_dot"]), rel=1e-3, abs=1e-7)
        expected = {
            "feedback": "h",
            "student": "loss_student_unlabeled",
            "certainty": "loss_teacher_unlabeled",
            "supervised": "loss_teacher_labeled",
        }
        for name, stored in expected.items():
            assert logs[name].item() == pytest.approx(float(v[f"s{s}_{stored}"]), rel=1e-3, abs=1e-7)
        assert looked.loss.item() == pytest.approx(float(v[f"s{s}_loss_student_labeled"]), rel=1e-4)
        assert logs["loss"].item() == pytest.approx(stepped.loss.item() + taught.loss.item())
        both = flat(v, f"s{s}_gt_unl_times_h.", method.teacher) + flat(v, f"s{s}_gt_lab.", method.teacher)
        ours = torch.cat([p.grad.flatten() for p in method.teacher.parameters()])
        np.testing.assert_allclose(ours, both, **close)
        for name in method.trainable:
            network = getattr(method, name)
            stored = flat(v, f"s{s}_{name}_after.", network)
            np.testing.assert_allclose(weights(network), stored, rtol=1e-4, atol=1e-6)


def test_dice_functions_of_the_repository(golden):
    v = golden("rlsss__losses")
    p, y = torch.from_numpy(v["prob"]), torch.from_numpy(v["target"]).long()
    binary = torch.stack([1 - p[:, 1], p[:, 1]], 1), (y == 1).long()
    for squared, name in [(True, "dice"), (False, "dice1")]:
        ours = dice_loss(*binary, include_background=False, squared=squared)
        assert ours.item() == pytest.approx(float(v[name]), rel=1e-4)
    for background, name in [(False, "multi_no_bg"), (True, "multi_bg")]:  # one ratio per scan
        each = [
            dice_loss(p[i : i + 1], y[i : i + 1], include_background=background, squared=False).item()
            for i in range(len(p))
        ]
        assert np.mean(each) == pytest.approx(float(v[name]), rel=1e-4)
