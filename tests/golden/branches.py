"""Stored logits of several decoders or scales as the answer of one network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.golden.replay import Vector
from tests.golden.ssl4mis import END
from torch import Tensor, nn

from semiseg.core import Batch, Method, SegOutput, Update


class Branched(nn.Module):
    """The first logits are those of the network, the others those of its branches."""

    def __init__(self, v: Vector) -> None:
        super().__init__()
        count = sum(name.startswith("logits") for name in v)
        self.logits = nn.ParameterList([torch.from_numpy(v[f"logits{i}"]) for i in range(count)])

    def forward(self, x: Tensor) -> SegOutput:
        main, *others = (z * 1.0 for z in self.logits)
        return SegOutput(main, heads={f"branch{i}": z for i, z in enumerate(others)})


def batch_of(v: Vector) -> Batch:
    """Empty images with the vector's labels: all of the first ones are seen, of the others none."""
    label = torch.from_numpy(v["label"]).long()
    n = int(v.get("labeled_bs", len(label) // 2))
    images = torch.zeros((len(label), 1, *label.shape[1:]))
    return Batch(images[:n], label[:n], {"weak": images[n:]})


def step(method: Method, v: Vector) -> Update:
    """The method's update on the stored logits, back-propagated."""
    method.net = Branched(v)
    (update,) = method.step(batch_of(v), END)
    update.loss.backward()
    return update


def check(method: Method, v: Vector, logs: dict[str, Any]) -> None:
    """The step's loss, its parts and the gradient of every branch."""
    update = step(method, v)
    got = {name: update.logs[name].item() for name in logs}
    assert got == {name: pytest.approx(float(value), rel=1e-5) for name, value in logs.items()}
    assert update.loss.item() == pytest.approx(float(v["loss"]), rel=1e-5)
    for i, z in enumerate(method.net.logits):
        np.testing.assert_allclose(z.grad, v[f"grad{i}"], rtol=1e-3, atol=2e-9)
