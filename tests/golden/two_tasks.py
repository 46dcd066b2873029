"""The vectors of DTC and SASSNet: one network output with one class, as answers of a network of ours."""

from __future__ import annotations

import re

import numpy as np
import torch
from tests.golden.replay import Vector
from tests.methods.answers import TwoTasks
from torch import Tensor

from semiseg.batches.targets import make_targets
from semiseg.core import Batch, SegOutput


class OneClass(TwoTasks):
    """The original's single channel o as logits (0, o), whose softmax is sigmoid(o)."""

    def __init__(self, v: Vector) -> None:
        logits = torch.from_numpy(v["outputs"])
        super().__init__(logits, torch.from_numpy(v["outputs_tanh"]))
        self.classes = 2

    def forward(self, x: Tensor) -> SegOutput:
        answer = super().forward(x)
        return answer._replace(logits=torch.cat([torch.zeros_like(answer.logits), answer.logits], 1))


def make_batch(v: Vector) -> Batch:
    """Empty images of the right size, and the targets in both forms."""
    label, n = torch.from_numpy(v["label"]), int(v["labeled_bs"])
    images = torch.zeros((len(label), 1, *label.shape[1:]))
    targets = make_targets(["sdf", "sdf_published"], label[:n], 2)
    return Batch(images[:n], label[:n], {"weak": images[n:]}, targets)


def iteration_of_gradients(v: Vector) -> int:
    """What the vector's own description says."""
    found = re.search(r"at iteration (\d+)", " ".join(np.atleast_1d(v["doc"])))
    assert found is not None
    return int(found.group(1))
