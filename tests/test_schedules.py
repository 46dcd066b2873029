"""Ramps, learning rates and moving averages: values of the papers' codes, and what must hold for all."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from semiseg import schedules
from semiseg.core import Clock
from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.schedules import ema_update, warm_decay
from tests.methods.tiny import batches, loop_for, make

few = settings(max_examples=25, deadline=None)
totals, steps = st.integers(1, 40_000), st.integers(0, 40_000)


@pytest.mark.parametrize(
    ("units", "values"),
    [
        (40, {0: 0.000674, 1500: 0.006005, 3000: 0.028650, 6000: 0.1}),
        (200, {0: 0.000674, 1500: 0.001097, 3000: 0.001742, 6000: 0.004076, 29_999: 0.099988}),
    ],
)
def test_published_consistency_weights(units, values):
    method = MeanTeacher(lambda: nn.Linear(1, 1), weight=0.1, ramp=units * 150, ramp_unit=150)
    for step, value in values.items():
        assert method.consistency_weight(Clock(step, 30_000)) == pytest.approx(value, abs=6e-7)


@few
@given(steps, totals)
def test_ramps_rise_from_their_start_to_one(step, length):
    for ramp in (schedules.sigmoid_rampup, schedules.linear_rampup):
        assert 0 <= ramp(step, length) <= ramp(step + 1, length) <= 1
        assert ramp(length, length) == 1
    assert schedules.sigmoid_rampup(0, length) == pytest.approx(math.exp(-5))
    assert schedules.sigmoid_rampup(step, 0) == schedules.linear_rampup(step, 0) == 1
    assert schedules.cosine_rampdown(0, length) == 1
    assert schedules.cosine_rampdown(length, length) == pytest.approx(0, abs=1e-12)


@few
@given(steps, st.integers(1, 100))
def test_stairs_stand_still_within_a_unit(step, units):
    value = schedules.consistency_ramp(step, units * 150, unit=150)
    assert value == schedules.consistency_ramp(step // 150 * 150, units * 150, unit=150)
    assert (value == 1) == (step // 150 >= units)


@few
@given(steps, totals, st.floats(0.1, 3.0), st.integers(0, 2))
def test_poly_falls_and_stays_positive_until_the_end(step, total, power, lag):
    now, later = (schedules.poly(k, total, power, lag) for k in (step, step + 1))
    assert 0 <= later <= now <= 1
    assert schedules.poly(0, total, power, lag) == schedules.poly(lag, total, power, lag) == 1
    if step < total:
        assert now > 0


def test_lagged_poly_repeats_the_base_rate():
    assert schedules.poly(1, 100, 0.9, lag=1) == 1
    assert schedules.poly(2, 100, 0.9, lag=1) == schedules.poly(1, 100, 0.9)


@few
@given(steps, st.integers(1, 5000), st.floats(0.05, 1.0))
def test_staircase_is_a_power_of_its_factor(step, every, factor):
    value = schedules.staircase(step, every, factor)
    assert value == pytest.approx(factor ** (step // every))
    assert schedules.staircase(step + 1, every, factor) <= value


@few
@given(steps, st.integers(0, 1000))
def test_warmup_ends_at_one(step, length):
    assert 0 < schedules.warmup(step, length) <= schedules.warmup(step + 1, length) <= 1
    assert schedules.warmup(max(length - 1, 0), length) == 1


def test_published_ema_coefficients():
    assert [warm_decay(k, 0.99) for k in (0, 1)] == [0, 0.5]
    assert warm_decay(98, 0.99) == pytest.approx(0.98990, abs=1e-5)
    assert warm_decay(99, 0.99) == warm_decay(5000, 0.99) == 0.99


@few
@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40), st.floats(0.5, 0.999))
def test_the_average_is_a_mean_and_stays_within_its_history(values, decay):
    average, source = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    for k, value in enumerate(values):
        nn.init.constant_(source.weight, value)
        ema_update(average, source, warm_decay(k, decay))
        so_far = values[: k + 1]
        assert min(so_far) - 1e-4 <= average.weight.item() <= max(so_far) + 1e-4
        if 1 - 1 / (k + 1) <= decay:
            assert average.weight.item() == pytest.approx(sum(so_far) / (k + 1), abs=1e-3)


def test_the_teacher_is_the_mean_of_the_student_and_has_its_own_statistics():
    method = make("mean_teacher", 2, 3)
    loop = loop_for(method, batches(2, 3, edge=8), 6)
    history = []
    while loop.step < 6:
        loop.iterate_once()
        history.append([p.detach().clone() for p in method.net.parameters()])
        for teacher, *past in zip(method.teacher.parameters(), *history, strict=True):
            torch.testing.assert_close(teacher, torch.stack(past).mean(0), rtol=1e-4, atol=1e-6)
        if loop.step == 1:
            pairs = zip(method.teacher.parameters(), method.net.parameters(), strict=True)
            assert all(torch.equal(teacher, student) for teacher, student in pairs)
    assert not torch.equal(method.teacher.body[1].running_mean, method.net.body[1].running_mean)
    assert all(p.grad is None for p in method.teacher.parameters())
