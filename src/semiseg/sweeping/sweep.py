"""Many trainings from one specification: the function behind ``semiseg sweep``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semiseg.machine.worker import WorkerJob
from semiseg.sweeping.executors import make_executor
from semiseg.sweeping.progress import SweepProgress
from semiseg.sweeping.run import Outcome, plan_sweep, run_sweep
from semiseg.sweeping.spec import Spec, as_spec, read_spec
from semiseg.sweeping.worker import work


def sweep(
    spec: str | Path | Mapping[str, Any],
    *,
    runs: str | Path = "runs",
    folder: str | Path | None = None,
    on: str = "local",
    devices: str | Sequence[str] = "auto",
    workers: int | None = None,
    retry_failed: bool = False,
    slurm: Mapping[str, Any] | None = None,
    ray: Mapping[str, Any] | None = None,
    watch: Callable[[SweepProgress], None] | None = None,
) -> Outcome:
    """Train methods x labels x seeds x datasets, each once, and score every run.

    What is done already is not done again; what died is tried again.

    Args:
        spec: a YAML file, a sweep folder, or what such a file holds.
        runs: the folder above the sweep folders.
        folder: exactly this sweep folder, instead of one under ``runs``.
        on: where the trainings run: ``local``, ``ray``, ``ray://HOST:PORT`` or ``slurm``.
        devices: ``auto``, ``cpu``, or a list such as ``cuda:0,cuda:1`` or ``["cuda:0", "cuda:1"]``.
        workers: trainings at a time; None is what suits the devices; 0 runs them in this process.
        retry_failed: also run those that failed before.
        slurm: parameters of submitit, over those of the specification.
        ray: options of a Ray task, over those of the specification.
        watch: called with the progress about once a second.

    Returns:
        What became of every training; ``outcome.problem()`` is the error to raise when some are not done.

    Raises:
        UsageError: everything that is wrong with the specification; a folder that cannot be written, a place
            or devices that do not exist, an extra that is not installed.
    """
    wanted, place, where = opened(spec, runs=runs, folder=folder, slurm=slurm, ray=ray)
    named = devices if isinstance(devices, str) else ",".join(devices)
    options = {"slurm": wanted.slurm, "ray": wanted.ray}
    return run_sweep(
        wanted,
        place,
        lambda: make_executor(on, work=_work_here, workers=workers, devices=named, options=options),
        where=where,
        retry_failed=retry_failed,
        watch=watch or (lambda board: None),
    )


def _work_here(job: WorkerJob, device: str) -> None:
    work(job.folder, job.name, device)


def preview(
    spec: str | Path | Mapping[str, Any], *, runs: str | Path = "runs", folder: str | Path | None = None
) -> tuple[SweepProgress, Path]:
    """The trainings that :func:`sweep` would run, with what is known of them, and the folder; writes nothing.

    Raises:
        UsageError: everything that is wrong with the specification.
    """
    wanted, place, where = opened(spec, runs=runs, folder=folder)
    return plan_sweep(wanted, place, where), place


def opened(
    spec: str | Path | Mapping[str, Any],
    *,
    runs: str | Path,
    folder: str | Path | None,
    slurm: Mapping[str, Any] | None = None,
    ray: Mapping[str, Any] | None = None,
) -> tuple[Spec, Path, str]:
    """The specification, the sweep's folder, and how messages call the specification."""
    wanted = as_spec(spec) if isinstance(spec, Mapping) else read_spec(Path(spec))
    over = {"slurm": {**wanted.slurm, **(slurm or {})}, "ray": {**wanted.ray, **(ray or {})}}
    wanted = wanted.model_copy(update=over)
    where = "spec" if isinstance(spec, Mapping) else str(spec)
    if folder is None:
        stored = not isinstance(spec, Mapping) and Path(spec).is_dir()
        folder = Path(where) if stored else Path(runs) / wanted.name
    return wanted, Path(folder), where
