"""Stored logits of two networks as a batch and a method, for the vectors of methods that train two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tests.golden.replay import Answers, Vector

from semiseg.core import Batch, Clock, Method, Update

AT = Clock(3000, 30000)
"""The iteration of the vectors, whose ramp is of 200 units of 150."""


def batch_of(v: Vector) -> Batch:
    """Empty images with the vector's labels, of which the method sees those of the first ones only."""
    n, label = int(v["labeled_bs"]), torch.from_numpy(v["label"]).long()
    images = torch.zeros((len(label), 1, *label.shape[1:]))
    return Batch(images[:n], label[:n], {"weak": images[n:], "strong": images[n:]})


def two(kind: Callable[..., Method], v: Vector, **options: Any) -> tuple[Method, list[Update]]:
    """The method with the stored logits as answers of both networks, and its updates, back-propagated."""
    left = iter([v["logits1"], v["logits2"]])
    method = kind(lambda: Answers(next(left)), ramp=200 * 150, ramp_unit=150, **options)
    updates = list(method.step(batch_of(v), AT))
    for update in updates:
        update.loss.backward()
    return method, updates
