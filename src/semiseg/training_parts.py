"""What a training is made of: its networks, the samples of its batches, and whether a patch fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semiseg import networks
from semiseg.config import Config
from semiseg.core import Batch, Method, Stage
from semiseg.data.batches import Batches
from semiseg.data.plan import Plan
from semiseg.data.sizing import fitting_patch
from semiseg.engine.stages import clock_at, first_steps
from semiseg.errors import UsageError
from semiseg.parts.averaging import Average


def factory(config: Config, plan: Plan) -> networks.Factory:
    """What makes the networks of a training."""
    return networks.Factory(
        config.network.name,
        dim=plan.dim,
        in_channels=len(plan.channels),
        classes=plan.classes,
        options=config.network.options,
        plan=plan.network,
        patch=plan.patch,
        checkpointing=config.network.checkpointing,
    )


def batch_sizes(config: Config, plan: Plan, method: Method, world: int) -> tuple[int, int]:
    """Labeled and unlabeled samples per iteration: half of the plan's batch each, or all labeled.

    A method that pastes samples together gets so many more that its networks see the planned batch. Numbers
    of the configuration are samples, whatever is made of them.

    Raises:
        UsageError: sizes that cannot be shared out among the processes.
    """
    semi, batch = bool(method.views), plan.batch * method.samples_per_image
    labeled = config.batch.labeled or max(batch // 2 if semi else batch, 1)
    unlabeled = max(batch - labeled, 1) * method.unlabeled_per_image
    if config.batch.unlabeled is not None:
        unlabeled = config.batch.unlabeled
    sizes = (labeled, unlabeled if semi else 0)
    if any(size % world for size in sizes):
        raise UsageError(
            f"{sizes[0]} labeled and {sizes[1]} unlabeled samples cannot be shared by {world} processes",
            hint=f"use multiples of {world}: --set batch.labeled={world} --set batch.unlabeled={world}",
            code="BATCH_SHARES",
        )
    return sizes


def thinned(label: NDArray[np.uint8], voxels: int = 200_000) -> torch.Tensor:
    """A copy of some rows and columns of a stored label: enough to know how much a class has."""
    step = max(1, math.ceil(math.sqrt(label.size / voxels)))
    return torch.from_numpy(np.array(label[:, ::step, ::step]))


@dataclass
class StageBatches:
    """``batches(k)`` of a run whose stages read different samples; made when a stage is first asked for.

    Args:
        stages: of the method.
        total: iterations of the run.
        make: the batches of a stage.
    """

    stages: Sequence[Stage]
    total: int
    make: Callable[[Stage], Batches]

    def __post_init__(self) -> None:
        self._made: tuple[object, Batches] | None = None

    def __call__(self, step: int) -> Batch:
        """The batch of an iteration."""
        return self.of(clock_at(self.stages, self.total, step)[0])(step)

    def of(self, stage: Stage) -> Batches:
        """The batches of a stage, which it may share with the one before."""
        kind = (stage.unlabeled, stage.pseudo and stage.name)
        if self._made is None or self._made[0] != kind:
            self._made = (kind, self.make(stage))
        return self._made[1]

    @property
    def pauses(self) -> list[int]:
        """Iterations whose samples are not known before the stage begins."""
        begins = first_steps(self.stages, self.total)
        return [step for stage, step in zip(self.stages, begins, strict=True) if stage.pseudo is not None]


def stage_sizes(stage: Stage, sizes: tuple[int, int], pool: int) -> tuple[int, int]:
    """Labeled and unlabeled samples per iteration of a stage: all labeled where nothing is learned from
    others.

    Args:
        stage: of the method.
        sizes: of the run, see :func:`batch_sizes`.
        pool: unlabeled cases that may be read.
    """
    if stage.unlabeled and (stage.pseudo is None or pool):
        return sizes
    return sum(sizes), 0


def trained_parameters(method: Method) -> int:
    """How many numbers the optimizers change; one that two networks share counts once."""
    networks = (getattr(method, name) for name in method.trainable)
    distinct = {id(p): p.numel() for net in networks for p in net.parameters() if p.requires_grad}
    return sum(distinct.values())


def described(network: torch.nn.Module, unknown: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its network, to build it again; ``unknown`` of one that does not tell."""
    if not isinstance(network, Average):
        return dict(getattr(network, "described", unknown))
    members = [described(member, unknown) for member in network]
    return {**members[0], "average_of": members}


def require_fit(patch: Sequence[int], *trained: torch.nn.Module) -> None:
    """Compare the patch with what the networks can halve.

    Raises:
        UsageError: an edge that is not divisible; names the nearest patch that is.
    """
    divisors = [divisor for network in trained if (divisor := getattr(network, "divisor", None))]
    needed = [math.lcm(*edges) for edges in zip(*divisors, strict=True)] or [1] * len(patch)
    if any(p % d for p, d in zip(patch, needed, strict=True)):
        nearest = list(fitting_patch(patch, needed))
        names = {told["name"] for network in trained if (told := getattr(network, "described", None))}
        which = " and ".join(sorted(names)) or "the network"
        raise UsageError(
            f"patch {list(patch)} does not fit {which}: its edges must be divisible by {needed}",
            hint=f"use --set 'plan.patch={nearest}'",
            code="PATCH_DIVISOR",
        )
