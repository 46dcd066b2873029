"""Turns: a pure function of the iteration, of the drawn lengths, shared fairly."""

from __future__ import annotations

import torch

from semiseg.methods.ad_mt import Turns


def lengths(turns: Turns, count: int) -> list[int]:
    states = [turns.at(step) for step in range(count)]
    changes = [step for step in range(1, count) if states[step] != states[step - 1]]
    return [b - a for a, b in zip([0, *changes], changes, strict=False)]


def test_turns_are_a_pure_function_of_the_iteration():
    forwards, backwards = Turns(7, seed=3), Turns(7, seed=3)
    told = [backwards.at(step) for step in reversed(range(200))][::-1]
    assert [forwards.at(step) for step in range(200)] == told
    torch.manual_seed(1)
    one = Turns(7)
    torch.manual_seed(1)
    two = Turns(7)
    assert [one.at(step) for step in range(50)] == [two.at(step) for step in range(50)]


def test_all_lengths_are_drawn_and_both_get_half():
    turns = Turns(5, seed=0)
    found = lengths(turns, 6000)
    assert set(found) == {1, 2, 3, 4, 5}
    assert abs(sum(found) / len(found) - 3) < 0.15  # (P + 1) / 2
    assert abs(sum(turns.at(step) for step in range(6000)) / 6000 - 0.5) < 0.05
    assert [Turns(1, seed=0).at(step) for step in range(4)] == [0, 1, 0, 1]
