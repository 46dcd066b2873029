"""How many samples an iteration has, and which cases each stage of a training reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from semiseg.batches.batches import Batches
from semiseg.core import Batch, Method, Stage
from semiseg.errors import UsageError, plural
from semiseg.preparation.plan import Plan
from semiseg.preparation.resident import Resident
from semiseg.settings.config import Config
from semiseg.training.stages import clock_at, first_steps


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
            f"{sizes[0]} labeled and {plural(sizes[1], 'unlabeled sample')} cannot be shared by "
            f"{world} processes",
            hint=f"use multiples of {world}: --set batch.labeled={world} --set batch.unlabeled={world}",
            code="BATCH_SHARES",
        )
    return sizes


@dataclass
class StageBatches:
    """``batches(k)`` of a run whose stages read different samples; made when a stage is first asked for."""

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
        kind = (stage.unlabeled, stage.pseudo and stage.name, stage.fold)
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
    """
    if stage.unlabeled and (stage.pseudo is None or pool):
        return sizes
    return sum(sizes), 0


def without_fold(labeled: list[Resident], place: int, count: int) -> list[Resident]:
    """The labeled cases of a stage, see :attr:`semiseg.core.Stage.fold`.

    Raises:
        UsageError: more folds than cases.
    """
    if count > len(labeled):
        raise UsageError(
            f"{plural(count, 'fold')} of {plural(len(labeled), 'labeled case')}: every fold leaves out "
            "at least one",
            hint=f"use --set method.options.folds={len(labeled)}, or fewer",
            code="FOLDS",
        )
    return [case for i, case in enumerate(labeled) if not count or i % count != place]
