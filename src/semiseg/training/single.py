"""One training: the only module that knows data, networks, methods and the engine at once."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from lightning_fabric import Fabric

from semiseg import methods, networks
from semiseg.batches import augment
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.write_split import keep_folds
from semiseg.errors import UsageError
from semiseg.machine.claim import held
from semiseg.machine.fabric import launched, repeatable
from semiseg.machine.hardware import keep_freed_memory
from semiseg.preparation.plan import NetworkPlan, Plan
from semiseg.preparation.prepare import (
    Prepared,
    prepare,
    require_same_data,
    split_dataset,
    with_departures,
    with_fold_count,
)
from semiseg.runs.events import Listener, Preparing, tell
from semiseg.runs.folder import RunFolder
from semiseg.runs.run import Run
from semiseg.settings.config import Config
from semiseg.settings.resolve import with_length, with_network
from semiseg.training.length import planned_for
from semiseg.training.session import Session, told_out_of_memory
from semiseg.training.start_from import START, Origin, Start, read_origin, require_unseen, start_of
from semiseg.training.trained import factory

log = logging.getLogger("semiseg.train")


@dataclass(frozen=True)
class Where:
    """What a training runs on, and who hears of it."""

    device: str
    devices: int
    workers: int
    listeners: tuple[Listener, ...]


def train_once(
    opened: Dataset,
    config: Config,
    where: Where,
    place: Path,
    plan: str | Path | None,
    *,
    exact: bool,
    resume: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
) -> Run:
    """Train once into ``place`` if ``exact``, else below it; see :func:`semiseg.training.train.train`."""
    device, workers, listeners = where.device, where.workers, where.listeners
    with launched(device, where.devices) as fabric, repeatable(config.train.deterministic):
        if fabric.device.type == "cpu":
            keep_freed_memory()
        network_name = NetworkPlan().name if plan is None else _planned_network(Path(plan), opened)
        wanted = config = with_fold_count(opened, with_network(config, network_name))
        config = with_departures(config, opened, tell=fabric.global_rank == 0)
        require_names(config, opened)
        opened = _with_folds(opened, config, keep=fabric.global_rank == 0 and not dry_run)
        folder = RunFolder(place, opened.name, config, exact=exact)
        with nullcontext() if dry_run else _held(fabric, folder):
            tell_first = functools.partial(_tell, fabric, listeners, set())
            stored = folder.stored_run() if resume else None
            if stored is not None:
                config = stored.resumed_config(wanted)
                if not stored.goes_on(config):
                    log.info("%s is finished already", stored.run.folder)
                    return stored.run
                folder.require_same_kind(stored, opened)
            elif not dry_run:
                folder.require_free(overwrite=overwrite, resume=resume)
            origin = None if stored or not config.start.file else read_origin(Path(config.start.file))
            prepare_here = functools.partial(
                prepare,
                opened,
                config,
                device=device if ":" in device and fabric.world_size == 1 else fabric.device.type,
                workers=workers,
                plan=stored.plan if stored else plan,
                progress=lambda what, done, count: tell_first(Preparing(what, done, count)),
            )
            prepared = _on_first_rank(fabric, prepare_here)
            auto_length = config.train.iterations == "auto"
            config = with_length(config, fabric.device.type, prepared.plan.dim)
            if config.select is None:
                config = config.model_copy(update={"select": "best-val" if prepared.split.val else "last"})
            if stored is not None:
                folder.require_same_data(stored, prepared)
            tell_first(Preparing("setting up networks and batches"))
            start = _start(folder, origin, prepared, config)
            with told_out_of_memory(fabric.device):
                session = Session(fabric, prepared, config, stored.known if stored else None, start=start)
                if dry_run:
                    session.try_once()
                    return Run(folder.path)
                if auto_length and config.train.max_time is not None:
                    tell_first(Preparing("timing a few iterations"))
                    session = planned_for(config.train.max_time, session)
            if stored is None and fabric.global_rank == 0:  # only now, when nothing can be wrong any more
                folder.make()
            return session.run(folder, listeners)


def _planned_network(plan: Path, dataset: Dataset) -> str:
    """The network of a plan file, which must be of this data."""
    given = Plan.load(plan)
    require_same_data(given, dataset, plan)
    return given.network.name


def _with_folds(dataset: Dataset, config: Config, *, keep: bool) -> Dataset:
    """The dataset with the folds that ``config`` counts; ``keep`` writes new ones into the split file."""
    if not isinstance(config.data.folds, int):
        return dataset
    folded = dataset.with_folds(config.data.folds)
    split_dataset(folded, config)  # a fold that is not there is refused before anything is written
    return keep_folds(dataset, config.data.folds) if keep else folded


def require_names(config: Config, dataset: Dataset) -> None:
    """Refuse what no method, network or augmentation is called, before any scan is opened.

    Raises:
        UsageError: an unknown name, an option that it does not have (with the nearest), a network (also a
            method's ``partner``) of MONAI where MONAI is not installed, or labels in a form that the
            method cannot learn.
    """
    method = methods.find(config.method.name)
    options = methods.check_options(method, config.method.options)
    augment.find(config.augment.name, config.augment.options)
    named = methods.all_options(method, options).get("partner", "")
    for name in (config.network.name, *([named] if isinstance(named, str) and named else [])):
        networks.require(name)
    methods.require_form(config.method.name, dataset.label_form)


@contextmanager
def _held(fabric: Fabric, folder: RunFolder) -> Iterator[None]:
    """The run folder belongs to this job until it ends: rank 0 holds it for all ranks.

    Raises:
        UsageError: another process works there; on every rank.
    """
    with ExitStack() as stack:
        refused: UsageError | None = None
        if fabric.global_rank == 0:
            try:
                stack.enter_context(held(folder.path, "--runs or --run"))
            except UsageError as error:
                refused = error
        told = fabric.broadcast(refused.as_dict() if refused else None)
        if told:
            raise UsageError(told["message"], hint=told["hint"], code=told["code"], details=told["details"])
        yield


def _tell(fabric: Fabric, listeners: Sequence[Listener], failed: set[int], event: Preparing) -> None:
    """What is done before there is a loop; rank 0 alone tells it."""
    if fabric.global_rank == 0:
        tell(listeners, event, failed)


def _start(folder: RunFolder, origin: Origin | None, prepared: Prepared, config: Config) -> Start | None:
    """What the networks begin with: of a resumed run, what it began with."""
    if not config.start.file:
        return None
    if origin is None:
        return Start.load(folder.checkpoints / START)
    require_unseen(Path(config.start.file), prepared.split)
    return start_of(origin, factory(config, prepared.plan), prepared.plan)


def _on_first_rank(fabric: Fabric, prepare_here: functools.partial[Prepared]) -> Prepared:
    """Rank 0 fills the cache, the others read it."""
    if fabric.global_rank == 0:
        prepared = prepare_here()
        fabric.barrier("prepared")
        return prepared
    fabric.barrier("prepared")
    return prepare_here()
