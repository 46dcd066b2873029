"""``semiseg plan``.

The plan of a run, and how ``plan`` and ``train --dry-run`` show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from semiseg.cli import options
from semiseg.cli.output import Output, Tick, counted
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.split import Split
from semiseg.machine.files import require_writable
from semiseg.machine.hardware import cores, free_memory_gb
from semiseg.preparation.plan import Plan
from semiseg.settings.config import Config

EXAMPLES = (
    "semiseg plan Dataset104_Heart",
    "semiseg plan Dataset104_Heart --device cuda --set plan.memory_gb=24",
    "semiseg plan Dataset104_Heart --set plan.spacing=[1,1,1] -o heart.json",
    "semiseg train Dataset104_Heart --plan heart.json",
)


def run(
    out: Output,
    dataset: options.Dataset,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where the plan is written (DATASET_plan.json)."),
    ] = None,
    labeled: options.Labeled = None,
    labeled_patients: options.LabeledPatients = None,
    fold: options.Fold = None,
    seed: options.Seed = None,
    recipe: options.Recipe = None,
    config: options.Config = None,
    settings: options.Set = None,
    device: options.Device = None,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, write no file.")] = False,
) -> None:
    """Choose spacing, orientation, normalization, patch, batch and network for a dataset, and say why.

    Looks at images and, where they are labeled, at the labels of the labeled cases only. `semiseg train`
    makes the same plan by itself; write one to read it, change it, or share it between runs. The device need
    not be in this machine: it is planned for the memory that is assumed or said.
    """
    from semiseg.dataset.dataset import Dataset

    opened = Dataset.open(dataset)
    output = output or Path(f"{opened.name}_plan.json")
    if not dry_run:
        require_writable(output.parent, "-o")
        if not overwrite:
            options.refuse_existing(output)
    flags = options.given_flags(
        data__labeled=labeled, data__labeled_patients=labeled_patients, data__fold=fold, train__seed=seed
    )
    from semiseg.settings.resolve import resolve

    resolved = resolve(recipe=recipe, file=config, settings=settings or (), flags=flags)
    where = options.device(device)

    with counted(out, "reading scans") as tick:
        split, plan = plan_of(opened, resolved, device=where, workers=options.workers(workers), progress=tick)
    if not dry_run:
        plan.save(output)
    written = "" if dry_run else f"written: {output}; change it and train with --plan {output}"
    report = {"plan": plan, "split": split.as_dict(), "file": None if dry_run else output}
    out.result(report, "\n".join(filter(None, [*plan_text(split, plan), written])))


def plan_of(
    dataset: Dataset,
    config: Config,
    *,
    device: str,
    workers: int | None,
    file: Path | None = None,
    progress: Tick | None = None,
) -> tuple[Split, Plan]:
    """The split and the plan with which ``semiseg train`` would run."""
    from semiseg.machine.hardware import select_device
    from semiseg.preparation.prepare import plan_for, split_dataset

    if device == "auto":  # any other need not be in this machine: log-in nodes plan for those that train
        device = select_device(device).type
    split = split_dataset(dataset, config)
    workers = cores() if workers is None else workers
    return split, plan_for(
        dataset, split, config, device=device, workers=workers, file=file, progress=progress
    )


def plan_text(split: Split, plan: Plan) -> Iterator[str]:
    """Counts, the plan line by line, and its memory beside what is free."""
    from semiseg.preparation.plan import explain

    lists = split.as_dict()
    counts = ", ".join(f"{len(lists[part])} {part}" for part in ("labeled", "unlabeled", "val", "test"))
    yield f"cases: {counts} ({split.source})"
    yield from explain(plan)
    free = free_memory_gb()
    if free is not None:
        yield f"free main memory: {free:g} GB"
