"""A method of two stages, the second of which goes on from the best weights of the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from lightning_fabric import Fabric
from tests.methods.tiny import TinyNet, batches, loop_for
from torch import nn

from semiseg.core import Batch, Clock, Method, Stage, Update
from semiseg.training.loop import Loop

AT = batches(2, 3, edge=8)
TOTAL, FIRST = 12, 6
SCORES = {2: 0.3, 4: 0.8, 6: 0.5, 8: 0.2, 10: 0.4, 12: 0.1}
"""Iterations done -> validated score: the best of the stages are 4 and 10."""


class FromBest(Method):
    """Notes the weights that each stage begins with."""

    stages = (Stage("pretrain", 0.5, constant_lr=True), Stage("selftrain", 0.5, start_from="best"))

    def __init__(self) -> None:
        super().__init__()
        self.net = TinyNet(2, 3)
        self.register_buffer("count", torch.zeros(()))
        self.began: dict[str, dict[str, torch.Tensor]] = {}

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        self.count += 1
        yield Update(nn.functional.cross_entropy(self.net(batch.x_l).logits, batch.y_l))

    def on_stage_start(self, name: str) -> None:
        self.began[name] = copy_of(self)


def copy_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """The state, apart from what training goes on to change."""
    return {key: value.clone() for key, value in module.state_dict().items()}


def staged_loop(folder: Path | None, *, fabric: Fabric | None = None, **train: object) -> Loop:
    """Always the same run, validated every two iterations."""
    torch.manual_seed(0)
    loop = loop_for(FromBest(), AT, TOTAL, folder=folder, fabric=fabric, **train)
    loop.validate, loop.validate_every = lambda network: {"dice": SCORES[loop.step]}, 2
    return loop
