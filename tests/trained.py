"""Models for tests that predict: a voxel-wise network that needs no training, and its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semiseg.core import SegOutput
from semiseg.networks import checkpoint
from semiseg.preparation.plan import ChannelPlan, NetworkPlan, Plan
from semiseg.settings.config import Config
from semiseg.settings.resolve import validate


class Thresholds(nn.Module):
    """Class k where the mean over channels is nearest to k: a voxel's class depends on it alone."""

    divisor = (1, 1, 1)

    def __init__(self, dim: int = 3, in_channels: int = 1, classes: int = 2, heads: Any = None) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.arange(float(classes)).reshape(1, classes, *[1] * dim))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> SegOutput:
        self.seen.append(tuple(x.shape))
        return SegOutput(-20 * (x.mean(1, keepdim=True) - self.centers).square(), x)


def make_plan(
    dim: int = 3, classes: int = 2, channels: int | tuple[ChannelPlan, ...] = 1, **other: Any
) -> Plan:
    names = ["background", *(f"structure {k}" for k in range(1, classes))]
    if isinstance(channels, int):
        sequences = ["MRI"] if channels == 1 else [f"MRI{c}" for c in range(channels)]
        channels = tuple(ChannelPlan(name=name, scheme="none") for name in sequences)
    fields: dict[str, Any] = {
        "dim": dim,
        "spacing": (None, None, None),
        "channels": channels,
        "labels": {name: k for k, name in enumerate(names)},
        "patch": (16,) * dim,
        "network": NetworkPlan(name="outside"),
    }
    return Plan(**(fields | other))


def make_run(
    folder: Path,
    plan: Plan | None = None,
    *,
    name: str = "final.ckpt",
    shift: float = 0.0,
    inference: dict[str, Any] | None = None,
    content: dict[str, Any] | None = None,
) -> Path:
    """Write a run folder whose network is :class:`Thresholds`, its centers moved by ``shift``."""
    plan = plan or make_plan()
    network = Thresholds(plan.dim, len(plan.channels), plan.classes)
    with torch.no_grad():
        network.centers.add_(shift)
    config: Config = validate({"inference": inference or {}})
    description = {
        "kind": checkpoint.MODEL,
        "format": 1,
        "predictor": network.state_dict(),
        "network": {"name": "tests.trained:Thresholds", "options": {}},
        "plan": plan.model_dump_json(),
        "config": config.model_dump_json(),
        "in_channels": len(plan.channels),
        "classes": plan.classes,
        "step": 7,
        "score": None,
    }
    checkpoint.save(folder / "checkpoints" / name, description | (content or {}))
    return folder
