"""Training: the only module that knows data, networks, methods and the engine at once."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from lightning_fabric import Fabric

from semiseg import methods, networks
from semiseg.batches import augment
from semiseg.dataset.dataset import Dataset
from semiseg.errors import UsageError
from semiseg.machine.files import held
from semiseg.machine.hardware import cores, keep_freed_memory
from semiseg.machine.processes import launched, repeatable
from semiseg.preparation.plan import NetworkPlan, Plan
from semiseg.preparation.prepare import Prepared, prepare, require_same_data
from semiseg.runs.events import Listener, Preparing, tell
from semiseg.runs.folder import RunFolder
from semiseg.runs.run import Run
from semiseg.settings.config import AUTO_ITERATIONS, Config
from semiseg.settings.flags import Settings, configured
from semiseg.settings.resolve import with_network
from semiseg.training.length import planned_for
from semiseg.training.session import Session

log = logging.getLogger("semiseg.train")


def train(
    dataset: str | Path | Dataset,
    config: Config | str | Path | None = None,
    *,
    method: str | None = None,
    network: str | None = None,
    recipe: str | None = None,
    labeled: int | None = None,
    labeled_patients: int | None = None,
    fold: int | None = None,
    seed: int | None = None,
    iterations: int | None = None,
    max_time: float | None = None,
    settings: Settings | None = None,
    plan: str | Path | None = None,
    runs: str | Path = "runs",
    run: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listeners: Sequence[Listener] = (),
    dry_run: bool = False,
) -> Run:
    """Train a model on a few labeled and many unlabeled scans, and write its run folder.

    Labels of unlabeled and test cases are never opened.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or an opened dataset.
        config: a YAML file with settings; or a whole configuration, beside which no other setting is taken.
        method: the training method, one of ``semiseg methods`` or ``package.module:Class``; None is that of
            the recipe.
        network: one of ``semiseg networks``, ``monai:Class`` or ``package.module:Class``; None is the one
            that the plan sized.
        recipe: settings by name, see ``semiseg recipes``, or a YAML file of that shape.
        labeled: how many labeled cases to use, at least 1; the others become unlabeled. None is all.
        labeled_patients: the same number counted in patients.
        fold: the fold of the dataset's split file, counted from 0.
        seed: the seed of everything that is drawn at random, 0 or more.
        iterations: length of the training in optimizer steps; None is chosen for ``max_time``, or for the device
            where there is none.
        max_time: minutes after which the training saves its state and ends. Without ``iterations`` the training
            is also planned for this time: some iterations are timed, and length, learning rate and ramps follow.
            A resumed run keeps the length that it began with.
        settings: other settings, ``{"optimizer.lr": 1e-3}`` or ``["optimizer.lr=1e-3"]``.
        plan: a ``plan.json`` to use instead of making a plan.
        runs: the folder above the run folders, ``DATASET/METHOD__NETWORK__RECIPE/labeled-K_fold-F_seed-S``.
        run: exactly this run folder, instead of one under ``runs``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        devices: how many processes train together, one per GPU; under torchrun its own number counts.
        workers: processes that prepare the scans; None is the number of cores, 0 is this process.
        resume: go on with an interrupted run; start one where there is none.
        overwrite: replace an earlier run in the same folder.
        listeners: functions that are called with every event (:mod:`semiseg.runs.events`), such as
            ``semiseg.runs.console.Console()``.
        dry_run: prepare everything and do one iteration, but write no run folder.

    Returns:
        The run, whose final model is written.

    Raises:
        Interrupted: stopped by Ctrl-C or SIGTERM; the state is saved, and ``resume`` continues from there.
        UsageError: unknown names, settings that do not fit, a run folder that is not free.
        DataError: a dataset that cannot be used as it is.
        DeviceError: no such device, or out of its memory.
    """
    config = configured(
        config,
        recipe=recipe,
        settings=settings,
        method=method,
        network=network,
        labeled=labeled,
        labeled_patients=labeled_patients,
        fold=fold,
        seed=seed,
        iterations=iterations,
        max_time=max_time,
    )
    workers = cores() if workers is None else workers
    with launched(device, devices) as fabric, repeatable(config.train.deterministic):
        if fabric.device.type == "cpu":
            keep_freed_memory()
        opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
        if plan is not None:
            given = Plan.load(Path(plan))
            require_same_data(given, opened, Path(plan))
            config = with_network(config, given.network.name)
        wanted = config = with_network(config, NetworkPlan().name)
        config = resolved(config, fabric.device.type)
        require_names(config)
        if opened.regions:
            methods.require_regions(config.method.name)
        folder = RunFolder(Path(run or runs), opened.name, config, exact=run is not None)
        with nullcontext() if dry_run else _held(fabric, folder):
            tell_first = functools.partial(_tell, fabric, listeners, set())
            stored = folder.stored_run() if resume else None
            if stored is not None:
                config = stored.resumed_config(wanted)
                if not stored.goes_on(config):
                    log.info("%s is finished already", stored.run.folder)
                    return stored.run
            elif not dry_run:
                folder.require_free(overwrite=overwrite, resume=resume)
            prepare_here = functools.partial(
                prepare,
                opened,
                config,
                device=device if ":" in device and fabric.world_size == 1 else fabric.device.type,
                workers=workers,
                plan=stored.run.plan if stored else plan,
                progress=lambda what, done, count: tell_first(Preparing(what, done, count)),
            )
            prepared = _on_first_rank(fabric, prepare_here)
            config = config.model_copy(update={"select": config.select or _selection(prepared)})
            if stored is not None:
                folder.require_same_data(stored, prepared)
            tell_first(Preparing("setting up networks and batches"))
            session = Session(fabric, prepared, config, stored.known if stored else None)
            if dry_run:
                session.try_once()
                return Run(folder.path)
            if stored is None and wanted.train.iterations == "auto" and config.train.max_time is not None:
                tell_first(Preparing("timing a few iterations"))
                session = planned_for(config.train.max_time, session)
            if stored is None and fabric.global_rank == 0:  # only now, when nothing can be wrong any more
                folder.make()
            return session.run(folder, listeners)


def require_names(config: Config) -> None:
    """Refuse what no method, network or augmentation is called, before any scan is opened.

    Raises:
        UsageError: an unknown name, an option that it does not have (with the nearest), or a network (also a
            method's ``partner``) of MONAI where MONAI is not installed.
    """
    method = methods.find(config.method.name)
    options = methods.check_options(method, config.method.options)
    augment.find(config.augment.name, config.augment.options)
    named = methods.all_options(method, options).get("partner", "")
    for name in (config.network.name, *([named] if isinstance(named, str) and named else [])):
        networks.require(name)


def resolved(config: Config, device_type: str) -> Config:
    """The configuration with every ``auto`` that does not depend on the data replaced by what it means."""
    config = with_network(config, NetworkPlan().name)
    if config.train.iterations != "auto":
        return config
    return config.with_length(AUTO_ITERATIONS[device_type])


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


def _selection(prepared: Prepared) -> str:
    return "best-val" if prepared.split.val else "last"


def _on_first_rank(fabric: Fabric, prepare_here: functools.partial[Prepared]) -> Prepared:
    """Rank 0 fills the cache, the others read it."""
    if fabric.global_rank == 0:
        prepared = prepare_here()
        fabric.barrier("prepared")
        return prepared
    fabric.barrier("prepared")
    return prepare_here()
