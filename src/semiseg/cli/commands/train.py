"""``semiseg train``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiseg.cli import options
from semiseg.cli.output import Output, counted, start_logging

if TYPE_CHECKING:
    from semiseg.runs.console import Console
    from semiseg.runs.run import Run

EXAMPLES = (
    "semiseg train Dataset104_Heart --method mean_teacher --labeled 8",
    "semiseg train 104 --labeled 8 --iterations 3000 --set optimizer.lr=1e-3",
    "semiseg train 104 --labeled 8 --dry-run",
    "semiseg train 104 --labeled 8 --resume",
)


def run(
    out: Output,
    dataset: options.Dataset,
    method: Annotated[
        str | None, typer.Option("--method", metavar="NAME", help="See `semiseg methods`.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option("--network", metavar="NAME", help="See `semiseg networks`.  [default: the plan's]"),
    ] = None,
    recipe: options.Recipe = None,
    labeled: options.Labeled = None,
    labeled_patients: options.LabeledPatients = None,
    fold: options.Fold = None,
    seed: options.Seed = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", metavar="N", min=1, help="Length.  [default: by device]")
    ] = None,
    max_time: Annotated[
        float | None, typer.Option("--max-time", metavar="MIN", help="Save and end after so many minutes.")
    ] = None,
    warm_start: Annotated[
        Path | None,
        typer.Option("--warm-start", metavar="RUN", help="Begin with the weights of an earlier run."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Also train on folds of the labels: predictions get an expected Dice."
        ),
    ] = False,
    config: options.Config = None,
    settings: options.Set = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="A plan.json to use instead of making one.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option("--runs", metavar="DIR", help="Parent of the run folders.  [default: runs]")
    ] = None,
    run_folder: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="Exactly this run folder, instead of --runs.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run; start where there is none.")
    ] = False,
    overwrite: options.Overwrite = False,
    device: options.Device = None,
    devices: Annotated[
        int, typer.Option("--devices", metavar="N", min=1, help="GPUs, or processes on a CPU.")
    ] = 1,
    workers: options.Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show plan, cases and memory; try one iteration; write no run.")
    ] = False,
) -> None:
    """Train a model on a few labeled and many unlabeled scans, and write a run folder.

    Labels of unlabeled and test cases are never opened. Ctrl-C saves; --resume goes on from there.
    """
    from semiseg.settings.flags import configured

    if resume and overwrite:
        raise options.contradiction("--resume", "--overwrite")
    wanted = configured(
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
        warm_start=None if warm_start is None else str(options.find_run(warm_start).absolute()),
    )
    options.require_method(wanted.method.name)
    where, processes = options.device(device), options.workers(workers)
    first = _is_first_process(out)
    from semiseg.dataset.dataset import Dataset

    opened = Dataset.open(dataset)
    if dry_run and first:
        from semiseg.cli.commands.plan import plan_text
        from semiseg.preparation.prepare import plan_dataset

        with counted(out, "reading scans") as tick:
            split, planned = plan_dataset(
                opened, wanted, plan=plan, device=where, workers=processes, progress=tick
            )
        out.text("\n".join(plan_text(split, planned)))

    from semiseg.training.train import train

    listeners = _listeners(out) if first else ()
    with ExitStack() as shown:
        for listener in listeners:  # a bar must not stand in the way of an error
            shown.callback(listener.close)
        trained = train(
            opened,
            wanted,
            plan=plan,
            runs=options.runs(runs),
            run=run_folder,
            device=where,
            devices=devices,
            workers=processes,
            resume=resume,
            overwrite=overwrite,
            calibrate=calibrate,
            listeners=listeners,
            dry_run=dry_run,
        )
    if not first:
        return
    if dry_run:
        report = {
            "dry_run": True,
            "run": trained.folder,
            "plan": planned,
            "split": split.as_dict(),
            "config": wanted,
        }
        out.result(report, f"one iteration fits; without --dry-run the run would be {trained.folder}")
    else:
        out.result(
            _summary(trained),
            f"run: {trained.folder}\n"
            f"use it: semiseg predict -i SCANS -o OUT -m {shlex.quote(str(trained.folder))}",
        )


def _listeners(out: Output) -> Sequence[Console]:
    """What shows the training on the terminal: nothing with -q."""
    if out.verbosity < 0:
        return []
    from semiseg.runs.console import Console

    return [Console(out.progress)]


def _summary(trained: Run) -> dict[str, Any]:
    manifest = trained.manifest
    return {
        "run": trained.folder,
        "finished": trained.finished,
        "manifest": manifest,
        "metrics": trained.metrics[-1:],
    }


def _is_first_process(out: Output) -> bool:
    """Whether this is the one process of a parallel run that talks; the others show errors only."""
    rank = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    if rank == "0":
        return True
    out.verbosity, out.progress = min(out.verbosity, -2), False
    start_logging(out)
    return False
