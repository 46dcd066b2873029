"""From a dataset folder and a configuration to what training reads: split, plan and stored cases."""

from __future__ import annotations

import hashlib
import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from semiseg import methods
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.split import Split
from semiseg.errors import DataError, UsageError
from semiseg.preparation.plan import Plan
from semiseg.preparation.planner import make_plan
from semiseg.preparation.store import StoredCase, build_store
from semiseg.settings import environment
from semiseg.settings.config import Config

log = logging.getLogger("semiseg.prepare")

Progress = Callable[[str, int, int], None]
"""Called with (what is done, cases done, all cases)."""


@dataclass(frozen=True)
class Prepared:
    """A run's data. Test cases are listed in the split; nothing of them is opened."""

    dataset: Dataset
    split: Split
    plan: Plan
    stored: dict[str, StoredCase]

    @property
    def labeled(self) -> list[StoredCase]:
        """The labeled cases, in the split's order."""
        return [self.stored[case.id] for case in self.split.labeled]

    @property
    def unlabeled(self) -> list[StoredCase]:
        """The unlabeled cases, in the split's order."""
        return [self.stored[case.id] for case in self.split.unlabeled]

    def data_hash(self) -> str:
        """Hash over the content of every image and label that training reads."""
        parts = []
        for case in self.stored.values():
            parts += [case.id, case.image_path.name, getattr(case, "label_path", Path()).name]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def split_dataset(dataset: Dataset, config: Config) -> Split:
    """The lists of a run.

    Raises:
        UsageError: a number of labels or a fold that does not fit.
        DataError: no labeled case at all, or broken lists.
    """
    split = dataset.split(
        config.data.labeled,
        config.data.fold,
        config.train.seed,
        labeled_patients=config.data.labeled_patients,
    )
    if not split.labeled:
        raise DataError(
            f"{dataset.root} has no labeled training case",
            hint="put at least one label into labelsTr (`semiseg check` lists what is there)",
            code="NO_LABELED",
        )
    return split


def plan_for(
    dataset: Dataset,
    split: Split,
    config: Config,
    *,
    device: str,
    workers: int,
    file: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """The plan of a run: from a file, or made from the data with the configuration's overrides.

    ``progress`` is told (scans measured, all scans).

    Raises:
        UsageError: an unreadable plan file, or overrides that do not fit the data or one another.
    """
    wanted = {key: value for key, value in config.plan.model_dump().items() if value is not None}
    if file is None:
        wanted.setdefault("networks", methods.memory(config.method.name))
        return make_plan(
            dataset,
            split,
            device=device,
            workers=workers,
            cache=environment.read().cache,
            progress=progress,
            **wanted,
        )
    plan = Plan.load(file)
    _require_same_data(plan, dataset, file)
    if wanted:
        log.warning("%s is used as it stands: plan.%s ignored", file, ", plan.".join(wanted))
    return plan


def _require_same_data(plan: Plan, dataset: Dataset, file: Path) -> None:
    """A plan of other channels, label values or regions cannot be meant; other names can."""
    for what, planned, there in (
        ("channels", [channel.name for channel in plan.channels], list(dataset.channel_names)),
        ("label values", sorted(plan.labels.values()), sorted(dataset.labels.values())),
        ("regions", list(plan.regions.values()), list(dataset.regions.values())),
        ("painted values", list(plan.regions_class_order), list(dataset.regions_class_order)),
    ):
        if len(planned) != len(there) or (what != "channels" and planned != there):
            raise UsageError(
                f"plan {file} was made for other data: its {what} are {planned}, "
                f"those of {dataset.name} {there}",
                hint=f"`semiseg plan {shlex.quote(str(dataset.root))}` makes one for this dataset",
                code="PLAN_OTHER_DATA",
            )


def prepare(
    dataset: Dataset,
    config: Config,
    cache: Path,
    *,
    device: str,
    workers: int,
    plan: Plan | None = None,
    plan_file: Path | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Split, plan and preprocess. Validation and test cases are not stored.

    Args:
        dataset: an opened dataset.
        config: data and plan sections.
        cache: folder of the store.
        device: such as ``cpu`` or ``cuda``; the planner sizes patches and networks for it.
        workers: processes.
        plan: use this one (a resumed run) instead of planning.
        plan_file: see :func:`plan_for`.
        progress: told (what is done, cases done, all cases).
    """
    split = split_dataset(dataset, config)
    if plan is None:
        tick = partial(progress, "reading scans") if progress else None
        plan = plan_for(dataset, split, config, device=device, workers=workers, file=plan_file, progress=tick)
    tick = partial(progress, "preparing scans") if progress else None
    stored = build_store((*split.labeled, *split.unlabeled), plan, cache, workers=workers, progress=tick)
    _require_distinct(split, stored)
    return Prepared(dataset, split, plan, stored)


def _require_distinct(split: Split, stored: dict[str, StoredCase]) -> None:
    """The same voxels as labeled and as unlabeled are a mistake of copying; within one list only a waste."""
    labeled = {stored[case.id].image_path: case.id for case in split.labeled}
    both = [(labeled[path], c.id) for c in split.unlabeled if (path := stored[c.id].image_path) in labeled]
    if both:
        pairs = ", ".join(f"{one} (labeled) = {other} (unlabeled)" for one, other in both[:5])
        raise DataError(
            f"the same scan under two names: {pairs}" + (f" and {len(both) - 5} more" if both[5:] else ""),
            hint="remove all but one; `semiseg check` finds such copies in every list",
            code="DUPLICATE_CONTENT",
            details={"cases": both},
        )
