"""Training: the only module that knows data, networks, methods and the engine at once."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from lightning_fabric import Fabric

from semiseg import methods, networks
from semiseg.batches import augment
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.write_split import keep_folds
from semiseg.errors import UsageError
from semiseg.machine.files import held
from semiseg.machine.hardware import cores, keep_freed_memory
from semiseg.machine.processes import launched, repeatable
from semiseg.prediction.calibration import FEWEST
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
from semiseg.runs.notebook import at_a_prompt
from semiseg.runs.run import Run
from semiseg.settings.config import AUTO_ITERATIONS, Config
from semiseg.settings.flags import Settings, configured
from semiseg.settings.resolve import with_network
from semiseg.training.calibrate import calibrate as calibrate_run
from semiseg.training.calibrate import tell_cost
from semiseg.training.length import planned_for
from semiseg.training.session import Session
from semiseg.training.start_from import START, Origin, Start, read_origin, require_unseen, start_of
from semiseg.training.trained import factory
from semiseg.training.twin import note_twin, require_twin, without_start

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
    start_from: str | Path | None = None,
    twin: bool = False,
    settings: Settings | None = None,
    plan: str | Path | None = None,
    runs: str | Path = "runs",
    run: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    calibrate: bool = False,
    listeners: Sequence[Listener] | None = None,
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
        fold: one of the folds of the dataset's split file, counted from 0; where that has none, of five that
            are made of the labeled cases, patient by patient, and kept in it. None trains on all labeled
            cases (or on the first fold that a split file lists). :func:`semiseg.cross_validate` trains every
            fold.
        seed: random seed, 0 or more; the same seed gives the same batches.
        iterations: length of the training in optimizer steps; None is chosen for ``max_time``, or for the
            device where there is none.
        max_time: minutes after which the training saves its state and ends. Without ``iterations`` it is also
            planned for this time: some iterations are timed, and length, learning rate and ramps follow. A
            resumed run keeps the length that it began with.
        start_from: fine-tuning: the first weights are those of a run, a ``model.zip``, a results folder of
            nnU-Net or a checkpoint, as far as they fit (by name, shape, channel and class); what does not is
            told. The learning rate is lower and grows slowly (``start.lr``, ``start.warmup``). A resumed run
            needs the file no more.
        twin: also train the same from random weights, and tell what ``start_from`` gained on the validation
            list; the twin lies where it would lie by itself, and one that is finished is not trained again.
        settings: other settings, ``{"optimizer.lr": 1e-3}`` or ``["optimizer.lr=1e-3"]``.
        plan: a ``plan.json`` to use instead of making a plan.
        runs: the folder above the run folders, ``DATASET/METHOD__NETWORK__RECIPE/labeled-K_fold-F_seed-S``.
        run: exactly this run folder, instead of one under ``runs``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        devices: how many processes train together, one per GPU; under torchrun its own number counts.
        workers: processes that prepare the scans; None is the number of cores, 0 is this process.
        resume: resume an interrupted run; start one where there is none.
        overwrite: replace an earlier run in the same folder.
        calibrate: also train on folds of the labels, so that predictions come with an expected Dice; a
            validation list of four scans makes that needless.
        listeners: functions that are called with every event (:mod:`semiseg.runs.events`), such as
            ``semiseg.runs.console.Console()``, which is the only one at a prompt or in a notebook if None;
            elsewhere there is none.
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
        start_from=None if start_from is None else str(start_from),
    )
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    listeners = at_a_prompt() if listeners is None else listeners
    where = _Where(device, devices, cores() if workers is None else workers, tuple(listeners))
    if twin:
        require_twin(config)
    if calibrate and not dry_run:
        _tell_calibration(opened, config)
    going_on = {"resume": resume, "overwrite": overwrite, "dry_run": dry_run}
    made = _train(opened, config, where, Path(run or runs), plan, exact=run is not None, **going_on)

    def again(data: Dataset, wanted: Config, place: Path, by: Path, exact: bool = True) -> Run:
        return _train(data, wanted, where, place, by, exact=exact, resume=True)

    if twin and not dry_run:
        beside = Path(runs) if run is None else Path(run).with_name(f"{Path(run).name}-scratch")
        same = without_start(made.config)
        note_twin(made, again(opened, same, beside, made.folder / "plan.json", run is not None))
    if calibrate and not dry_run:
        calibrate_run(made, opened, again)
    return made


@dataclass(frozen=True)
class _Where:
    """What a training runs on, and who hears of it."""

    device: str
    devices: int
    workers: int
    listeners: tuple[Listener, ...]


def _tell_calibration(dataset: Dataset, config: Config) -> None:
    """Say what the folds cost, before anything is trained."""
    split = split_dataset(dataset, config)
    if len(split.val) < FEWEST:
        rule = dataset.splits.patients if dataset.splits else None
        tell_cost([case.id for case in split.labeled], rule, config.train.iterations)


def _train(
    opened: Dataset,
    config: Config,
    where: _Where,
    place: Path,
    plan: str | Path | None,
    *,
    exact: bool,
    resume: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
) -> Run:
    """One training; see :func:`train`."""
    device, workers, listeners = where.device, where.workers, where.listeners
    with launched(device, where.devices) as fabric, repeatable(config.train.deterministic):
        if fabric.device.type == "cpu":
            keep_freed_memory()
        network_name = NetworkPlan().name if plan is None else _planned_network(Path(plan), opened)
        wanted = config = with_fold_count(opened, with_network(config, network_name))
        config = with_departures(resolved(config, fabric.device.type), opened, tell=fabric.global_rank == 0)
        require_names(config)
        opened = _with_folds(opened, config, keep=fabric.global_rank == 0 and not dry_run)
        if opened.regions:
            methods.require_regions(config.method.name)
        folder = RunFolder(place, opened.name, config, exact=exact)
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
            origin = None if stored or not config.start.file else read_origin(Path(config.start.file))
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
            start = _start(folder, origin, prepared, config)
            session = Session(fabric, prepared, config, stored.known if stored else None, start=start)
            if dry_run:
                session.try_once()
                return Run(folder.path)
            if stored is None and wanted.train.iterations == "auto":
                session = _planned(session, tell_first)
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


def _planned(session: Session, tell_first: Callable[[Preparing], None]) -> Session:
    """The session with the length that its time allows, where it has one."""
    if session.config.train.max_time is None:
        return session
    tell_first(Preparing("timing a few iterations"))
    return planned_for(session.config.train.max_time, session)


def _start(folder: RunFolder, origin: Origin | None, prepared: Prepared, config: Config) -> Start | None:
    """What the networks begin with: of a resumed run, what it began with."""
    if not config.start.file:
        return None
    if origin is None:
        return Start.load(folder.checkpoints / START)
    require_unseen(Path(config.start.file), prepared.split)
    return start_of(origin, factory(config, prepared.plan), prepared.plan)


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
