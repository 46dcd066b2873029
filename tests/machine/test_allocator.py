"""glibc told to keep freed memory, or not, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.conftest import environment_of_ranks

from semiseg.machine.hardware import _mallopt, keep_freed_memory, why_not

PROGRAM = """
import json, resource
from semiseg.machine.hardware import keep_freed_memory, why_not
kept = keep_freed_memory()
import torch
x = torch.zeros(12_000_000)
for _ in range(20):
    x + 1
faults = []
for _ in range(9):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x + 1
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
faults = sorted(faults)[4]  # one addition may need new memory: a small block was put into the kept one
print(json.dumps({"kept": kept, "faults": faults, "why": why_not()}))
"""


def run(**environment: str) -> dict[str, object]:
    inherited = {k: v for k, v in environment_of_ranks().items() if not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


needs_glibc = pytest.mark.skipif(_mallopt() is None, reason="needs glibc")


@needs_glibc
def test_kept_memory_costs_no_page_faults():
    found = run()
    assert (found["kept"], found["why"]) == (True, None)
    assert found["faults"] < 1000


@needs_glibc
@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"SEMISEG_KEEP_MEMORY": "0"}, "SEMISEG_KEEP_MEMORY=0"),
        ({"MALLOC_ARENA_MAX": "2"}, "left to MALLOC_ARENA_MAX"),
    ],
)
def test_a_user_can_turn_it_off(environment, why):
    found = run(**environment)
    assert (found["kept"], found["why"]) == (False, why)
    assert found["faults"] > 1000


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
    assert why_not() == "not the allocator of glibc"
