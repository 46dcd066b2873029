"""Stored logits as a batch and a method, for the vectors of the scripts of SSL4MIS."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.golden.replay import Answers, Vector

from semiseg.core import Batch, Clock, Method, Update

END = Clock(10, 10)
"""Where the ramp is over, so that a method's weight is the one that it was given: the vector's."""


def said(v: Vector, name: str, otherwise: float) -> float:
    """A number that the vector has in its words only, such as ``ramp 200``."""
    found = re.search(rf"\b{name} ([\d.]*\d)", str(v["doc"]))
    return float(found[1]) if found else otherwise


def batch_of(v: Vector) -> Batch:
    """Empty images with the vector's labels, of which the method sees those of the first ones only."""
    n, label = int(v["labeled_bs"]), torch.from_numpy(v["label"]).long()
    images = torch.zeros((len(label), 1, *label.shape[1:]))
    return Batch(images[:n], label[:n], {"weak": images[n:], "strong": images[n:]})


def two(kind: Callable[..., Method], v: Vector, **options: Any) -> tuple[Method, list[Update]]:
    """The method with the stored logits as answers of both networks, and its updates, back-propagated."""
    left = iter([v["logits1"], v["logits2"]])
    method = kind(lambda **choice: Answers(next(left)), weight=float(v["weight"]), **options)
    updates = list(method.step(batch_of(v), END))
    for update in updates:
        update.loss.backward()
    return method, updates


def require_both(method: Method, updates: list[Update], v: Vector) -> None:
    """The losses, weights and gradients of both networks are the vector's."""
    assert [update.on for update in updates] == ["net", "net2"]
    for i, (update, number) in enumerate(zip(updates, ["", "2"], strict=True), start=1):
        logs = {name: value.item() for name, value in update.logs.items()}
        assert logs[f"supervised{number}"] == pytest.approx(float(v[f"sup{i}"]), rel=1e-5)
        assert logs[f"consistency{number}"] == pytest.approx(float(v[f"pse{i}"]), rel=1e-5)
        assert logs[f"weight{number}"] == pytest.approx(float(v["weight"]), rel=1e-5)
        gradient = getattr(method, update.on).logits[0].grad
        np.testing.assert_allclose(gradient, v[f"grad{i}"], rtol=1e-3, atol=1e-8)
    assert sum(update.loss.item() for update in updates) == pytest.approx(float(v["loss"]), rel=1e-5)
