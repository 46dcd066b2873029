"""``semiseg plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semiseg.cli import options
from semiseg.cli.output import Output
from semiseg.writable import require_writable

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
    from semiseg.data.dataset import Dataset

    opened = Dataset.open(dataset)
    output = output or Path(f"{opened.name}_plan.json")
    if not dry_run:
        require_writable(output.parent, "-o")
        if not overwrite:
            options.refuse_existing(output)
    flags = options.given_flags(
        data__labeled=labeled, data__labeled_patients=labeled_patients, data__fold=fold, train__seed=seed
    )
    from semiseg.resolve import resolve

    resolved = resolve(recipe=recipe, file=config, settings=settings or (), flags=flags)
    where = options.device(device)

    from semiseg.cli.planning import plan_of, plan_text

    split, plan = plan_of(opened, resolved, device=where, workers=options.workers(workers))
    if not dry_run:
        plan.save(output)
    written = "" if dry_run else f"written: {output}; change it and train with --plan {output}"
    report = {"plan": plan, "split": split.as_dict(), "file": None if dry_run else output}
    out.result(report, "\n".join(filter(None, [*plan_text(split, plan), written])))
