"""``semiseg demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from semiseg.cli import options
from semiseg.cli.commands.compare import show
from semiseg.cli.options import flag
from semiseg.cli.output import Output

EXAMPLES = ("semiseg demo", "semiseg demo -o /tmp/demo --minutes 1")


def run(
    out: Output,
    folder: Annotated[
        Path, flag("-o --output DIR", "Output folder; an earlier demo in it is replaced.")
    ] = Path("demo"),
    minutes: Annotated[
        float, flag("--minutes MINUTES", "Approximate duration in minutes, on two cores.", min=0.05)
    ] = 2.5,
    iterations: Annotated[
        int | None,
        flag("--iterations N", "Number of iterations of each method, instead of --minutes.", min=1),
    ] = None,
    seed: options.Seed = None,
    device: options.Device = None,
    workers: options.Workers = None,
) -> None:
    """Try the whole workflow on small synthetic scans: check, plan, train, predict, evaluate, compare.

    The scans are phantoms, made so that unlabeled ones help: the demo shows how the tool works, not what you
    will gain.
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
