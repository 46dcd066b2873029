"""Mean Teacher against the original training loop: losses, weights of both networks after each step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from semiseg.config import OptimizerConfig, ScheduleConfig
from semiseg.core import Batch, Clock, SegOutput
from semiseg.ema import ema_update, warm_decay
from semiseg.engine.optim import build_optimizer, lr_factor
from semiseg.engine.precision import Precision
from semiseg.engine.update import iterate
from semiseg.methods.mean_teacher import MeanTeacher


class Tiny(nn.Module):
    """The vector's test network: conv3 - batch norm - ReLU - conv1."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        first, last = weights["conv1.weight"], weights["conv2.weight"]
        dim = first.ndim - 2
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dim == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.conv1 = conv(first.shape[1], first.shape[0], 3, padding=1)
        self.bn1 = norm(first.shape[0])
        self.conv2 = conv(last.shape[1], last.shape[0], 1)

    def forward(self, x: torch.Tensor) -> SegOutput:
        return SegOutput(self.conv2(torch.relu(self.bn1(self.conv1(x)))))


def state(vector, prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): torch.as_tensor(a) for k, a in vector.items() if k.startswith(prefix)}


def test_ema_update_moves_parameters_and_no_buffer(golden):
    v = golden("mean_teacher__ema_update")
    student, teacher = Tiny(state(v, "student_init__")), Tiny(state(v, "teacher_init__"))
    student.load_state_dict(state(v, "student_init__"))
    teacher.load_state_dict(state(v, "teacher_init__"))
    for k in v["steps"].tolist():
        ema_update(teacher, student, warm_decay(k, float(v["decay"])))
        expected = state(v, f"teacher_after_step{k}__")
        assert expected
        for name, value in teacher.state_dict().items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=f"{k} {name}")
        with torch.no_grad():
            for p in student.parameters():
                p += 0.05 * ((k % 7) - 3)


def test_optimizer_steps_equal_the_original_loop(golden, monkeypatch):
    v = golden("mean_teacher__steps")
    images, labels = torch.from_numpy(v["images"]), torch.from_numpy(v["labels"])
    dim, n, total = images.ndim - 3, int(v["labeled_bs"]), int(v["max_iterations"])
    method = MeanTeacher(
        lambda: Tiny(state(v, "student_init__")),
        decay=float(v["ema_decay"]),
        ramp=200 * 150,
        ramp_unit=150,
        hold_off=1000 if dim == 2 else 0,  # only the original's 2D script has it
    )
    method.net.load_state_dict(state(v, "student_init__"))
    method.teacher.load_state_dict(state(v, "teacher_init__"))
    optimizer = build_optimizer(
        method.net, OptimizerConfig(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)
    )
    schedule = ScheduleConfig(name="poly", power=0.9, lag=1)
    fabric = Fabric(accelerator="cpu", devices=1)
    for s in range(len(images)):
        t = Clock(int(v["iter0"]) + s, total)
        noise = torch.from_numpy(v["randn"][s])
        monkeypatch.setattr(torch, "randn_like", lambda x, noise=noise: noise)
        lr = 0.01 * lr_factor(schedule, t.step, total)
        if s:  # the vector's loop starts at iter0 with the base rate
            assert lr == pytest.approx(float(v["lr"][s]), rel=1e-6)
        optimizer.param_groups[0]["lr"] = float(v["lr"][s])
        batch = Batch(images[s, :n], labels[s, :n], {"weak": images[s, n:]})
        logs, finite = iterate(fabric, method, batch, {"net": optimizer}, t, Precision("32", fabric.device))
        assert finite
        assert logs["loss"].item() == pytest.approx(float(v["loss"][s]), rel=1e-4)
        held_off = method.hold_off > t.step
        if not held_off:
            assert logs["weight"].item() == pytest.approx(float(v["consistency_weight"][s]), rel=1e-5)
            assert logs["consistency"].item() == pytest.approx(float(v["consistency_loss"][s]), rel=1e-4)
    for network, prefix in ((method.net, "student_final__"), (method.teacher, "teacher_final__")):
        for name, expected in state(v, prefix).items():
            np.testing.assert_allclose(
                network.state_dict()[name], expected, rtol=1e-4, atol=1e-6, err_msg=prefix + name
            )
