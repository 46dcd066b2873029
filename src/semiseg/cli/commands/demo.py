"""``semiseg demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semiseg.cli import options
from semiseg.cli.commands.compare import show
from semiseg.cli.output import Output

EXAMPLES = ("semiseg demo", "semiseg demo -o /tmp/demo --minutes 1")


def run(
    out: Output,
    folder: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Made, or replaced if it is an earlier demo."),
    ] = Path("demo"),
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="MIN", min=0.05, help="About how long, on two cores.")
    ] = 2.5,
    iterations: Annotated[
        int | None,
        typer.Option("--iterations", metavar="N", min=1, help="Of each method, instead of --minutes."),
    ] = None,
    seed: options.Seed = None,
    device: options.Device = None,
    workers: options.Workers = None,
) -> None:
    """Try everything on tiny synthetic scans: check, plan, train two methods, predict, evaluate, compare.

    The scans are phantoms: the numbers say how the tool works, not how it does on yours.
    """
    from semiseg.demo.demo import run as demo

    result = demo(
        folder,
        minutes=minutes,
        iterations=iterations,
        seed=seed or 0,
        device=options.device(device),
        workers=options.workers(workers),
        progress=out.progress,
    )
    show(out, result.comparison)
    out.result(result.as_dict(), f"{result.seconds:.0f} s; report: {result.report}")
