"""``semiseg plan``.

The plan of a run, and how ``plan`` and ``train --dry-run`` show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from semiseg.cli import options
from semiseg.cli.options import flag
from semiseg.cli.output import Output, counted
from semiseg.dataset.split import Split
from semiseg.errors import UsageError
from semiseg.machine.files import require_writable
from semiseg.machine.hardware import free_memory_gb
from semiseg.preparation.plan import Plan

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
        Path | None, flag("-o --output FILE", "File to write the plan to.  [default: DATASET_plan.json]")
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
    dry_run: Annotated[bool, flag("--dry-run", "Show the plan, write no file.")] = False,
) -> None:
    """Show the spacing, normalization, patch, batch and network that semiseg would use, with reasons.

    Reads images, and labels of the labeled cases only. `semiseg train` makes the same plan by itself; write
    one to read it, change it, or share it between runs. The device need not be in this machine.
    """
    from semiseg.dataset.dataset import Dataset
    from semiseg.settings.flags import of_keywords

    wanted = of_keywords(locals())
    where, processes = options.device(device), options.workers(workers)
    opened = Dataset.open(dataset)
    output = output or Path(f"{opened.name}_plan.json")
    if not dry_run:
        require_writable(output.parent, "-o")
        if output.is_dir():
            raise UsageError(
                f"{output} is a folder, wanted a file",
                hint=f"such as -o {output / 'plan.json'}",
                code="EXISTS",
            )
        if not overwrite:
            options.refuse_existing(output)
    from semiseg.preparation.prepare import plan_dataset

    with counted(out, "reading scans") as tick:
        split, plan = plan_dataset(opened, wanted, device=where, workers=processes, progress=tick)
    if not dry_run:
        plan.save(output)
    written = "" if dry_run else f"written: {output}; change it and train with --plan {output}"
    report = {"plan": plan, "split": split.as_dict(), "file": None if dry_run else output}
    out.result(report, "\n".join(filter(None, [*plan_text(split, plan), written])))


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
