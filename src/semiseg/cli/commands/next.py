"""``semiseg next``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from semiseg.cli import options
from semiseg.cli.options import flag
from semiseg.cli.output import Output, columns, counted

EXAMPLES = (
    "semiseg next Dataset104_Heart -n 5",
    "semiseg next Dataset104_Heart -m RUN --strategy entropy -n 10",
    "semiseg next Dataset104_Heart -m RUN --slices",
)


def run(
    out: Output,
    dataset: options.Dataset,
    model: Annotated[
        list[Path] | None,
        flag("-m --model RUN", "Run folder, checkpoint or model.zip; may be repeated for an ensemble."),
    ] = None,
    strategy: Annotated[
        str,
        flag(
            "--strategy NAME",
            "Strategy: random, foreground_random, clasp_pe, entropy, disagreement, coreset, typiclust "
            "or mixed.  [default: mixed; without a model typiclust]",
            show_default=False,
        ),
    ] = "default",
    n: Annotated[int, flag("-n --number N", "Number of scans.", min=1)] = 5,
    slices: Annotated[
        bool, flag("--slices", "Also say which three planes of each scan to label, if not all of it.")
    ] = False,
    predictions: Annotated[
        Path | None, flag("--predictions DIR", "Folder with predictions of the model.")
    ] = None,
    seed: options.Seed = None,
    device: options.Device = None,
    allow_code: options.AllowCode = None,
) -> None:
    """Suggest which unlabeled scans to label next, and why; without a model, by their appearance."""
    where = options.device(device)
    from semiseg.labeling.next import next_cases

    with counted(out, "look") as tick:
        found = next_cases(
            dataset,
            [options.find_run(path) for path in model] if model else None,
            strategy=strategy,
            n=n,
            slices=slices,
            predictions=predictions,
            seed=seed or 0,
            device=where,
            allow_code=allow_code or (),
            progress=tick,
        )
    rows = columns((str(rank), one.id, one.reason) for rank, one in enumerate(found.cases, start=1))
    out.result(found.as_dict(), f"{rows}\nstrategy: {found.strategy}")
