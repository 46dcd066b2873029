"""``semiseg recommend``."""

from __future__ import annotations

from typing import Annotated

import typer

from semiseg.cli import options
from semiseg.cli.output import Output

EXAMPLES = (
    "semiseg recommend Dataset104_Heart --labeled 8",
    "semiseg recommend 104 --labeled 8 --memory 4 --minutes 30 --device cpu",
)


def run(
    out: Output,
    dataset: options.Dataset,
    labeled: options.Labeled = None,
    labeled_patients: options.LabeledPatients = None,
    fold: options.Fold = None,
    seed: options.Seed = None,
    memory: Annotated[
        float | None,
        typer.Option("--memory", metavar="GB", help="What a run may use.  [default: what is free]"),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="N", help="What a run may take.  [default: any]")
    ] = None,
    settings: options.Set = None,
    device: options.Device = None,
    workers: options.Workers = None,
) -> None:
    """Rank the training methods for a dataset, with the reason for each, and print the command to start with.

    Looks at images and at the labels of the labeled cases only. The rules are guesses that name their
    evidence; figures measured with semiseg count for more than published ones.
    """
    from semiseg.settings.resolve import resolve

    flags = options.given_flags(
        data__labeled=labeled, data__labeled_patients=labeled_patients, data__fold=fold, train__seed=seed
    )
    resolved = resolve(settings=settings or (), flags=flags)
    where, processes = options.device(device), options.workers(workers)
    if where == "auto":  # any other need not be in this machine
        from semiseg.machine.hardware import select_device

        where = str(select_device(where))

    from semiseg.advice.advise import advise
    from semiseg.advice.words import text
    from semiseg.dataset.dataset import Dataset
    from semiseg.machine.hardware import cores

    words = [dataset]
    for flag, value in (
        ("--labeled", labeled),
        ("--labeled-patients", labeled_patients),
        ("--fold", fold),
        ("--seed", seed),
        ("--device", device),
        *(("--set", setting) for setting in settings or ()),
    ):
        words += [] if value is None else [flag, str(value)]
    advice = advise(
        Dataset.open(dataset),
        resolved,
        device=where,
        memory_gb=memory,
        minutes=minutes,
        workers=cores() if processes is None else processes,
        flags=words,
    )
    out.result(advice.as_dict(), text(advice))
