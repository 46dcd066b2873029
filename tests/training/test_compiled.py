"""Compiled networks compute what eager ones do, and eager is always the way back."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.methods.tiny import batches, loop_for, make

from semiseg import networks
from semiseg.core import Method
from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.training import trained
from semiseg.training.trained import (
    PAYS_AFTER,
    StepMarks,
    compile_networks,
    eager,
    networks_of,
    should_compile,
)

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def unet() -> torch.nn.Module:
    return networks.build("unet", dim=2, in_channels=1, classes=3, features=(4, 8))


def method_for(backend: str | None) -> Method:
    torch.manual_seed(0)
    method = MeanTeacher(unet)
    if backend:
        compile_networks(networks_of(method), backend=backend)
    return method


@pytest.mark.parametrize(
    ("setting", "device", "iterations", "can", "wanted"),
    [
        ("auto", CUDA, PAYS_AFTER, True, True),
        ("auto", CUDA, PAYS_AFTER, False, False),
        ("auto", CUDA, PAYS_AFTER - 1, True, False),
        ("auto", CPU, 10 * PAYS_AFTER, True, False),
        (True, CPU, 1, False, True),
        ("graphs", CUDA, 1, True, True),
        (False, CUDA, 10 * PAYS_AFTER, True, False),
    ],
)
def test_when_to_compile(setting, device, iterations, can, wanted, monkeypatch):
    monkeypatch.setattr(trained, "can_compile", lambda: can)
    assert should_compile(setting, device, iterations) == wanted


def test_teachers_are_compiled_and_other_parts_are_not():
    assert len(networks_of(make("mean_teacher", 2, 3))) == 2
    method = make("low_confidence", 2, 3)
    assert {type(n) for n in networks_of(method)} == {type(method.net)}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_run_is_the_eager_run(backend):
    runs = []
    for chosen in (None, backend):
        method = method_for(chosen)
        loop_for(method, batches(2, 3), 4, ema=0.9).run()
        runs.append(method.state_dict())
    assert runs[0].keys() == runs[1].keys()
    for key, value in runs[0].items():
        torch.testing.assert_close(runs[1][key], value, rtol=1e-3, atol=1e-5)


def test_it_is_the_compiled_code_that_runs_and_copies_are_eager():
    calls = []

    def backend(module, inputs):
        calls.append(len(inputs))
        return module.forward

    net, x = unet().eval(), torch.randn(1, 1, 8, 8)
    plain = net(x).logits
    net.compile(backend=backend)
    with eager():
        net(x)
    assert calls == []
    torch.testing.assert_close(net(x).logits, plain)
    made = len(calls)
    assert made >= 1
    copy.deepcopy(net)(x)
    assert len(calls) == made


def test_what_cannot_be_compiled_runs_all_the_same():
    def broken(module, inputs):
        raise RuntimeError("no compiler")

    net, x = unet().eval(), torch.randn(1, 1, 8, 8)
    plain = net(x).logits
    compile_networks([net], backend="eager")
    net.compile(backend=broken)
    torch.testing.assert_close(net(x).logits, plain)


def test_marks_hand_batches_on():
    assert StepMarks(lambda step: step + 1)(4) == 5


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("graphs", [False, True])
def test_on_a_gpu(graphs):
    from lightning_fabric import Fabric

    runs = []
    for on in (False, True):
        torch.manual_seed(0)
        method = MeanTeacher(unet).to("cuda")
        if on:
            compile_networks(networks_of(method), graphs=graphs)
        at = batches(2, 3, edge=32)

        def moved(step, at=at):
            b = at(step)
            return b._replace(x_l=b.x_l.cuda(), y_l=b.y_l.cuda(), x_u={k: v.cuda() for k, v in b.x_u.items()})

        fabric = Fabric(accelerator="gpu", devices=1)
        loop_for(method, StepMarks(moved) if graphs else moved, 5, fabric=fabric).run()
        runs.append(method.state_dict())
    for key, value in runs[0].items():
        torch.testing.assert_close(runs[1][key], value, rtol=1e-2, atol=1e-4)
