"""``semiseg recommend``."""

from __future__ import annotations

from typing import Annotated

from semiseg.cli import options
from semiseg.cli.options import flag
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
        float | None, flag("--memory GB", "Memory that a run may use, in GB.  [default: what is free]")
    ] = None,
    minutes: Annotated[
        float | None, flag("--minutes MINUTES", "Minutes that a run may take.  [default: any]")
    ] = None,
    every: Annotated[bool, flag("--all", "Show all methods, not the first five only.")] = False,
    settings: options.Set = None,
    device: options.Device = None,
    workers: options.Workers = None,
) -> None:
    """Suggest which method to train first, with the reason for each, and print the commands to run.

    Reads images, and labels of the labeled cases only. The order is an estimate from our benchmark,
    published figures and rules; figures measured with semiseg count for more than published ones.
    """
    from semiseg.advice.advise import recommend
    from semiseg.advice.format import text

    advice = recommend(
        dataset,
        labeled=labeled,
        labeled_patients=labeled_patients,
        fold=fold,
        seed=seed,
        memory_gb=memory,
        minutes=minutes,
        settings=settings,
        device=options.device(device),
        workers=options.workers(workers),
    )
    out.result(advice.as_dict(), text(advice, every=every))
