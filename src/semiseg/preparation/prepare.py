"""From a dataset folder and a configuration to what training reads: split, plan and stored cases."""

from __future__ import annotations

import hashlib
import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from semiseg import methods, networks
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.public.published import departures
from semiseg.dataset.split import Split
from semiseg.drawing.notebook import notebook_bar
from semiseg.errors import DataError, UsageError, some
from semiseg.machine.hardware import cores, select_device
from semiseg.preparation.plan import Plan
from semiseg.preparation.planner import make_plan
from semiseg.preparation.store import StoredCase, build_store
from semiseg.preparation.too_large import SIZED, require_memory
from semiseg.settings import environment
from semiseg.settings.changes import changes, other_forms
from semiseg.settings.config import Config
from semiseg.settings.flags import Settings, of_keywords
from semiseg.settings.resolve import named_methods

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


def with_fold_count(dataset: Dataset, config: Config) -> Config:
    """The configuration with ``data.folds: auto`` replaced by what it means for this dataset.

    Raises:
        UsageError: the labeled cases are too few for folds.
    """
    if config.data.folds != "auto":
        return config
    return config.changed("data", folds=dataset.fold_count())


def with_departures(config: Config, dataset: Dataset, *, tell: bool = True) -> Config:
    """The configuration with a deviation, which is warned of, for each departure from a published protocol:
    in the data, the method, its options, and other settings.
    """
    told = departures(dataset, config.recipe, config.published) if config.published.data else []
    if config.protocol == "paper":
        if config.method.name in named_methods(config.recipe):
            told += config.published.departs
        else:
            told.append(f"no published setting of {config.method.name} in recipe {config.recipe}")
        told += [*other_forms(config), *filter(None, [changes(config)])]
    for text in told:
        if tell and text not in config.deviations:  # which were told of already
            log.warning(text)
    return config.model_copy(update={"deviations": tuple(dict.fromkeys((*config.deviations, *told)))})


def split_dataset(dataset: Dataset, config: Config) -> Split:
    """The lists of a run.

    Raises:
        UsageError: a number of labels or a fold that does not fit.
        DataError: no labeled case at all, or broken lists.
    """
    data = with_fold_count(dataset, config).data
    split = dataset.split(
        data.labeled,
        data.fold,
        config.train.seed,
        labeled_patients=data.labeled_patients,
        folds=None if data.folds == "auto" else data.folds,
        accepted=data.accepted,
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
    file: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """The plan of a run: from a file, or made from the data with the configuration's overrides.

    Folds of a cross-validation share voxels, patch and network of a run on all labeled cases, so that they
    can be compared and predict together. Their gray values are measured on their own cases.

    Raises:
        UsageError: an unreadable plan file, or overrides that do not fit the data or one another.
    """
    wanted = {key: value for key, value in config.plan.model_dump().items() if value is not None}
    if file is None:
        wanted.setdefault("networks", methods.memory(config.method.name))
        plan = make_plan(
            dataset,
            split,
            device=device,
            workers=workers,
            cache=environment.read().cache,
            progress=progress,
            blocks=networks.blocks(config.network.name, config.network.options),
            **wanted,
        )
        if config.network.name not in SIZED:
            told = f"{plan.reasons['memory_gb']}; of the default U-Net, not of {config.network.name}"
            plan = plan.model_copy(update={"reasons": {**plan.reasons, "memory_gb": told}})
        if not split.held_out:
            return plan
        config = config.changed("data", fold=0, folds=None)
        split = split_dataset(dataset, config)
        whole = plan_for(dataset, split, config, device=device, workers=workers, progress=progress)
        return of_a_fold(whole, plan)
    file = Path(file)
    plan = Plan.load(file)
    require_same_data(plan, dataset, file)
    if wanted:
        log.warning("%s is used as it stands: plan.%s ignored", file, ", plan.".join(wanted))
    return plan


def of_a_fold(whole: Plan, own: Plan) -> Plan:
    """The plan ``whole`` of all labeled cases, with the gray values of a fold's own cases."""
    reasons = {key: own.reasons[key] for key in ("dataset", "channels") if key in own.reasons}
    shared = "voxels, patch and network are those of a training on all labeled cases, for all folds"
    reasons["dataset"] = f"{reasons.get('dataset', '')}; {shared}"
    update: dict[str, Any] = {"channels": own.channels, "seen": own.seen}
    return whole.model_copy(update={**update, "reasons": {**whole.reasons, **reasons}})


def require_same_data(plan: Plan, dataset: Dataset, file: Path) -> None:
    """A plan of other channels, label values or regions cannot be meant; other names can.

    Raises:
        UsageError: the plan was made for other data.
    """
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


class Planned(NamedTuple):
    """What a training would use: its lists of cases and its plan."""

    split: Split
    plan: Plan


def plan_dataset(
    dataset: str | Path | Dataset,
    config: Config | str | Path | None = None,
    *,
    method: str | None = None,
    recipe: str | None = None,
    labeled: int | None = None,
    labeled_patients: int | None = None,
    fold: int | None = None,
    seed: int | None = None,
    settings: Settings | None = None,
    plan: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Planned:
    """Choose voxel size, orientation, gray values, patch, batch and network for a dataset.

    ``split, plan = semiseg.plan("MyDataset", labeled=8)``; ``plan.save("plan.json")`` writes it,
    and ``train`` takes the file. Looks at the images and at the labels of the labeled cases only.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or an opened dataset.
        config: a YAML file with settings; or a whole configuration, beside which no other setting is taken.
        method: the training method, whose networks the memory must hold.
        recipe: settings by name, or a YAML file of that shape.
        labeled: how many labeled cases to use; None is all.
        labeled_patients: the same number counted in patients.
        fold: the fold of the dataset's split file, counted from 0.
        seed: the seed that chooses the labeled cases.
        settings: other settings, ``{"plan.memory_gb": 24}`` or ``["plan.memory_gb=24"]``.
        plan: a ``plan.json`` to use as it stands, after a look whether it fits the dataset.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``. It need not be in this machine: the plan is for the
            memory that is assumed or said.
        workers: processes that measure the images; None is the number of cores, 0 is this process.
        progress: called with (images measured, images in all).

    Returns:
        The lists of cases, and the plan.

    Raises:
        UsageError: unknown names, settings that do not fit the data or one another, an unreadable plan.
        DataError: no labeled case, or cases that cannot be read.
        DeviceError: ``auto`` found a device that cannot be used.
    """
    config = of_keywords(locals())
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    device, workers = _means(device, workers)
    with_departures(config, opened)
    if config.network.name != "auto":
        networks.require(config.network.name)
    progress = progress or notebook_bar("plan")
    split = split_dataset(opened, config)
    return Planned(
        split, plan_for(opened, split, config, device=device, workers=workers, file=plan, progress=progress)
    )


def _means(device: str, workers: int | None) -> tuple[str, int]:
    """The kind of device to plan for, and the number of processes."""
    if device == "auto":  # any other need not be in this machine: log-in nodes plan for those that train
        device = select_device(device).type
    return device, cores() if workers is None else workers


def prepare(
    dataset: str | Path | Dataset,
    config: Config | str | Path | None = None,
    *,
    method: str | None = None,
    recipe: str | None = None,
    labeled: int | None = None,
    labeled_patients: int | None = None,
    fold: int | None = None,
    seed: int | None = None,
    settings: Settings | None = None,
    plan: Plan | str | Path | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Split, plan and store a dataset's scans as the networks will see them; ``train`` does so by itself.

    Validation and test cases are listed, but not opened.

    The keywords are those of :func:`plan_dataset`; ``plan`` may be a plan itself, ``cache`` is the folder of
    stored scans (None: ``SEMISEG_HOME/cache``), and ``progress`` is called with (what is done, cases done,
    all cases).

    Raises:
        UsageError: as of :func:`plan_dataset`.
        DataError: no labeled case, cases that cannot be read, one scan under two names.
    """
    config = of_keywords(locals())
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    device, workers = _means(device, workers)
    split = split_dataset(opened, config)
    if not isinstance(plan, Plan):
        tick = partial(progress, "reading scans") if progress else None
        plan = plan_for(opened, split, config, device=device, workers=workers, file=plan, progress=tick)
    require_memory(plan, config, device)
    tick = partial(progress, "preparing scans") if progress else None
    place = environment.read().cache if cache is None else Path(cache)
    stored = build_store((*split.labeled, *split.unlabeled), plan, place, workers=workers, progress=tick)
    _require_distinct(split, stored)
    return Prepared(opened, split, plan, stored)


def _require_distinct(split: Split, stored: dict[str, StoredCase]) -> None:
    """The same voxels as labeled and as unlabeled are a mistake of copying; within one list only a waste."""
    labeled = {stored[case.id].image_path: case.id for case in split.labeled}
    both = [(labeled[path], c.id) for c in split.unlabeled if (path := stored[c.id].image_path) in labeled]
    if both:
        pairs = some(f"{one} (labeled) = {other} (unlabeled)" for one, other in both)
        raise DataError(
            f"the same scan under two names: {pairs}",
            hint="remove all but one; `semiseg check` finds such copies in every list",
            code="DUPLICATE_CONTENT",
            details={"cases": both},
        )
