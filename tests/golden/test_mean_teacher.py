"""Mean Teacher against the original training loop: losses, weights of both networks after each step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.golden.replay import Tiny, assert_final_weights, draws, replay, state

from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.schedules import ema_update, warm_decay
from semiseg.settings.config import ScheduleConfig
from semiseg.training.optim import lr_factor


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
    method = MeanTeacher(
        lambda: Tiny(state(v, "student_init__")),
        decay=float(v["ema_decay"]),
        ramp=200 * 150,
        ramp_unit=150,
        hold_off=1000 if v["images"].ndim == 5 else 0,  # only the original's 2D script has it
    )
    for s, t, logs in replay(method, v, lambda s: draws(monkeypatch, [v["randn"][s]])):
        if s:  # the vector's loop starts at iter0 with the base rate
            lr = 0.01 * lr_factor(ScheduleConfig(name="poly", power=0.9, lag=1), t.step, t.total)
            assert lr == pytest.approx(float(v["lr"][s]), rel=1e-6)
        assert logs["loss"].item() == pytest.approx(float(v["loss"][s]), rel=1e-4)
        held_off = method.hold_off > t.step
        if not held_off:
            assert logs["weight"].item() == pytest.approx(float(v["consistency_weight"][s]), rel=1e-5)
            assert logs["consistency"].item() == pytest.approx(float(v["consistency_loss"][s]), rel=1e-4)
    assert_final_weights(method, v)
