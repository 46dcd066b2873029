"""Where a run stands in its stages, the best weights that a stage hands to the next, and what is logged."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from semiseg.core import Clock, Stage
from semiseg.networks import checkpoint


def clock_at(stages: Sequence[Stage], total: int, step: int) -> tuple[Stage, Clock]:
    """The stage of an iteration, and where it stands in that stage.

    A stage may be too short for a single iteration and is then left out; the last one takes what rounding
    leaves.
    """
    begins = [*first_steps(stages, total), total]
    place = max(i for i in range(len(stages)) if begins[i] <= step)
    start, end = begins[place : place + 2]
    return stages[place], Clock(step - start, end - start, stages[place].name)


def first_steps(stages: Sequence[Stage], total: int) -> list[int]:
    """The iteration at which each stage begins; equal to the next one's for a stage that is left out."""
    begins = [0]
    for stage in stages[:-1]:
        begins.append(begins[-1] + min(round(total * stage.share), total - begins[-1]))
    return begins


def leader(stages: Sequence[Stage], stage: Stage) -> Stage:
    """The first of the stages whose scores compare with those of this one."""
    place = stages.index(stage)
    while place > 0 and stages[place].rival:
        place -= 1
    return stages[place]


def hands_on_best(stages: Sequence[Stage], stage: Stage) -> bool:
    """Whether a later stage goes on from the best weights of this one."""
    return any(later.start_from == "best" for later in stages[stages.index(stage) + 1 :])


def save_best(folder: Path, stage: Stage, content: Mapping[str, Any]) -> None:
    """Keep the best weights of a stage beside those of the others."""
    checkpoint.save(_path(folder, stage), dict(content))


def load_best(fabric: Fabric, folder: Path, stage: Stage) -> dict[str, Any]:
    """What rank 0 kept with :func:`save_best`, on every rank: only rank 0 needs to see the folder.

    Raises:
        UsageError: the file is gone or damaged.
    """
    first = fabric.global_rank == 0
    content = checkpoint.load(_path(folder, stage), checkpoint.MODEL) if first else {}
    return dict(fabric.broadcast(content))


def _path(folder: Path, stage: Stage) -> Path:
    return folder / f"best-{stage.name}.ckpt"


class Meter:
    """Means of what is logged, and the speed, between two readings; tensors stay on the device."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.per_second = 0.0
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._steps = 0
        self._since = time.monotonic()

    def add(self, logs: Mapping[str, Tensor]) -> None:
        """Note one iteration's detached scalars."""
        self._steps += 1
        for name, value in logs.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """Means since the last reading; the only place where the device is waited for."""
        names = list(self._sums)
        means = [float(torch.as_tensor(self._sums[name])) / self._counts[name] for name in names]
        now = time.monotonic()
        self.per_second = self._steps / max(now - self._since, 1e-9)
        self._sums, self._counts, self._steps, self._since = {}, {}, 0, now
        return dict(zip(names, means, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """What has been collected since the last reading, so that a resumed run logs the same means."""
        return {"sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])

    def start(self) -> None:
        """The clock of the speed starts now."""
        self._steps, self._since = 0, time.monotonic()

    def seconds_left(self, step: int) -> float:
        """Time to the end at the last measured speed."""
        return (self.total - step) / self.per_second if self.per_second else 0.0
