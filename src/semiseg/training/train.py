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
from semiseg.preparation.prepare import Prepared, prepare
from semiseg.runs.events import Listener
from semiseg.runs.folder import RunFolder
from semiseg.runs.run import Run
from semiseg.settings import environment
from semiseg.settings.config import AUTO_ITERATIONS, Config
from semiseg.settings.resolve import with_network
from semiseg.training.session import Session

log = logging.getLogger("semiseg.train")


def train(
    dataset: str | Path | Dataset,
    config: Config,
    *,
    runs: Path = Path("runs"),
    run_folder: Path | None = None,
    plan_file: Path | None = None,
    device: str = "auto",
    devices: int = 1,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listeners: Sequence[Listener] = (),
    dry_run: bool = False,
) -> Run:
    """Train one model and write its run folder.

    Args:
        dataset: a folder, a name, or an opened dataset.
        config: see :func:`semiseg.settings.resolve.resolve`.
        runs: parent of the run folders; ignored when ``run_folder`` says where.
        run_folder: exactly this folder.
        plan_file: use this plan instead of making one.
        device: auto, cpu, cuda, cuda:N or mps.
        devices: processes (data parallel); under torchrun its own number counts.
        workers: preprocessing processes; None for the number of cores.
        resume: go on where an interrupted run stopped; starts anew where there is none.
        overwrite: delete an earlier run in the same folder.
        listeners: called with every event, beside the run folder's own logs.
        dry_run: prepare everything and do one iteration, but write no run folder.

    Returns:
        The run, whose final model has been written.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the state has been saved.
        SemisegError: anything that a user can mend.
    """
    workers = cores() if workers is None else workers
    with launched(device, devices) as fabric, repeatable(config.train.deterministic):
        if fabric.device.type == "cpu":
            keep_freed_memory()
        opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
        if plan_file is not None:
            config = with_network(config, Plan.load(plan_file).network.name)
        config = resolved(config, fabric.device.type)
        require_names(config)
        folder = RunFolder(run_folder or runs, opened.name, config, exact=run_folder is not None)
        with nullcontext() if dry_run else _held(fabric, folder):
            stored = folder.stored_run() if resume else None
            if stored is not None:
                config = stored.resumed_config(config)
                if not stored.goes_on(config):
                    log.info("%s is finished already", stored.run.folder)
                    return stored.run
            elif not dry_run:
                folder.require_free(overwrite=overwrite, resume=resume)
            prepare_here = functools.partial(
                prepare,
                opened,
                config,
                environment.read().cache,
                device=device if ":" in device and fabric.world_size == 1 else fabric.device.type,
                workers=workers,
                plan=stored.run.plan if stored else None,
                plan_file=plan_file,
            )
            prepared = _on_first_rank(fabric, prepare_here)
            config = config.model_copy(update={"select": config.select or _selection(prepared)})
            if stored is not None:
                folder.require_same_data(stored, prepared)
            session = Session(fabric, prepared, config, stored.known if stored else None)
            if dry_run:
                session.try_once()
                return Run(folder.path)
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
    train = config.train.model_copy(update={"iterations": AUTO_ITERATIONS[device_type]})
    return config.model_copy(update={"train": train})


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
