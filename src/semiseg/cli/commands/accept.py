"""``semiseg accept``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from semiseg.cli import options
from semiseg.cli.options import argument, flag
from semiseg.cli.output import Output, counted
from semiseg.errors import PartialError

EXAMPLES = (
    "semiseg accept Dataset104_Heart predictions",
    "semiseg accept Dataset104_Heart predictions --cases heart_12,heart_17",
)


def run(
    out: Output,
    dataset: options.Dataset,
    predictions: Annotated[
        Path,
        argument("PREDICTIONS", "Folder that `semiseg predict` wrote."),
    ],
    cases: Annotated[
        str, flag("--cases IDS", "Accept only these cases; names with commas between.  [default: all]")
    ] = "",
    replace: Annotated[
        bool, flag("--replace", "Also replace labels that are there; the former versions are kept.")
    ] = False,
    by: Annotated[
        str, flag("--by NAME", "Name of the person who accepts.  [default: the system's user]")
    ] = "",
) -> None:
    """Take predictions of unlabeled scans as their labels, unchanged; labels.jsonl records it."""
    from semiseg.labeling.accept import accept

    chosen = options.names_in(cases) or None
    with counted(out, "accept") as tick:
        report = accept(dataset, predictions, cases=chosen, replace=replace, by=by, progress=tick)
    count = f"{len(report.accepted)} accepted, {len(report.refused)} refused"
    if not report.refused:
        out.result(report.as_dict(), f"{count}: {report.dataset}")
        return
    first = next(iter(report.refused.values()))
    raise PartialError(
        f"{count}; {first['message']}", hint=first["hint"], code="REFUSED", details=report.as_dict()
    )
