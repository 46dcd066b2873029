"""Where a run stands in its stages, and the best weights that a stage hands to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

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
