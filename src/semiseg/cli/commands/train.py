"""``semiseg train``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from semiseg.cli import options
from semiseg.cli.help import LENGTH, MACHINE, METHOD, OUTPUT
from semiseg.cli.options import flag
from semiseg.cli.output import Output, counted, start_logging

if TYPE_CHECKING:
    from semiseg.runs.console import Console
    from semiseg.runs.run import Run
    from semiseg.training.cross_validation import CrossValidation

EXAMPLES = (
    "semiseg train Dataset104_Heart --labeled 8 --max-time 30",
    "semiseg train 104 --labeled 8 --iterations 3000 --set optimizer.lr=1e-3",
    "semiseg train 104 --labeled 8 --dry-run",
    "semiseg train 104 --labeled 8 --resume",
    "semiseg train 104 --fold all",
)


def run(
    out: Output,
    dataset: options.Dataset,
    method: options.Method = None,
    network: Annotated[
        str | None,
        flag("--network NAME", "Network; `semiseg networks` lists them.  [default: the plan's]", METHOD),
    ] = None,
    recipe: options.Recipe = None,
    labeled: options.Labeled = None,
    labeled_patients: options.LabeledPatients = None,
    fold: options.FoldOrAll = None,
    seed: options.Seed = None,
    iterations: Annotated[
        int | None,
        flag(
            "--iterations N",
            "Number of training iterations.  [default: by --max-time or device]",
            LENGTH,
            min=1,
        ),
    ] = None,
    max_time: Annotated[
        float | None,
        flag("--max-time MINUTES", "Train for this many minutes; save and stop when they are over.", LENGTH),
    ] = None,
    start_from: Annotated[
        str | None,
        flag(
            "--start-from FILE",
            "Fine-tune a run, a model.zip, an nnU-Net results folder or a checkpoint.",
            METHOD,
        ),
    ] = None,
    twin: Annotated[
        bool, flag("--twin", "Also train from scratch, and report what --start-from gained.", METHOD)
    ] = False,
    calibrate: Annotated[
        bool,
        flag("--calibrate", "Also train on folds of the labels: predictions get an expected Dice.", METHOD),
    ] = False,
    config: options.Config = None,
    settings: options.Set = None,
    plan: options.PlanFile = None,
    runs: Annotated[
        Path | None, flag("--runs DIR", "Parent folder of the run folders.  [default: runs]", OUTPUT)
    ] = None,
    run_folder: Annotated[
        Path | None, flag("--run DIR", "Exact run folder, instead of --runs.", OUTPUT)
    ] = None,
    resume: Annotated[
        bool, flag("--resume", "Resume an interrupted run; start a new one if there is none.", LENGTH)
    ] = False,
    overwrite: options.Overwrite = False,
    device: options.Device = None,
    devices: Annotated[
        int, flag("--devices N", "Number of GPUs, or of processes on a CPU.", MACHINE, min=1)
    ] = 1,
    workers: options.Workers = None,
    dry_run: Annotated[
        bool, flag("--dry-run", "Show plan, cases and memory; try one iteration; write no run.", OUTPUT)
    ] = False,
) -> None:
    """Train a model on a few labeled and many unlabeled scans, and write a run folder.

    Labels of unlabeled and test cases are never opened. Ctrl-C saves; --resume continues from there.
    """
    from semiseg.settings.flags import of_keywords

    if resume and overwrite:
        raise options.contradiction("--resume", "--overwrite")
    number = options.fold(fold)
    for other, said in (("--devices", devices > 1), ("--calibrate", calibrate), ("--twin", twin)):
        if number == "all" and said:  # what each fold holds out calibrates it
            raise options.contradiction("--fold all", other)
    start = None if start_from is None else options.find_run(Path(start_from))
    wanted = of_keywords(locals(), fold=0 if number == "all" else number, start_from=start)
    options.require_method(wanted.method.name)
    where, processes = options.device(device), options.workers(workers)
    first = _is_first_process(out)
    from semiseg.dataset.dataset import Dataset

    opened = Dataset.open(dataset)
    if dry_run and first:
        from semiseg.cli.commands.plan import plan_text
        from semiseg.preparation.prepare import plan_dataset, with_departures

        wanted = with_departures(wanted, opened)  # once, for the plan and for the iteration
        with counted(out, "reading scans") as tick:
            split, planned = plan_dataset(
                opened, wanted, plan=plan, device=where, workers=processes, progress=tick
            )
        out.text("\n".join(plan_text(split, planned)))

    from semiseg.training.cross_validation import cross_validate
    from semiseg.training.train import train

    listeners = _listeners(out) if first else ()
    given: dict[str, Any] = {"plan": plan, "runs": options.runs(runs), "run": run_folder, "device": where}
    given |= {"workers": processes, "resume": resume, "overwrite": overwrite, "listeners": listeners}
    with ExitStack() as shown:
        for listener in listeners:  # a bar must not stand in the way of an error
            shown.callback(listener.close)
        if number == "all" and not dry_run:
            _tell_all(out, cross_validate(opened, wanted, **given))
            return
        more: dict[str, Any] = {"calibrate": calibrate, "twin": twin, "dry_run": dry_run}
        trained = train(opened, wanted, devices=devices, **more, **given)
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
        score = trained.score
        out.result(_summary(trained), "\n".join([*_use(trained.folder), *(score.lines() if score else [])]))


def _use(folder: Path) -> list[str]:
    where = shlex.quote(str(folder))
    return [f"run: {folder}", f"use it: semiseg predict -i SCANS -o OUT -m {where}"]


def _tell_all(out: Output, made: CrossValidation) -> None:
    """Each fold in a line, the ensemble, and the score of all cases."""
    lines = []
    for number, run in enumerate(made.runs):
        dice = run.score.dice if run.score else None
        lines.append(f"fold {number}: {'no score' if dice is None else f'Dice {dice:.3f}'}, {run.folder}")
    content = {"run": made.folder, "finished": all(run.finished for run in made.runs), **made.as_dict()}
    out.result(content, "\n".join([*lines, *_use(made.folder), *made.score.lines()]))


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
        "score": manifest.get("score"),
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
