"""``semiseg compare``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from semiseg.cli import options
from semiseg.cli.options import argument, flag
from semiseg.cli.output import Output
from semiseg.errors import PartialError, plural
from semiseg.machine.files import require_writable

if TYPE_CHECKING:
    from semiseg.comparison.result import Comparison

EXAMPLES = (
    "semiseg compare runs/Dataset104_Heart",
    "semiseg compare RUN1 RUN2 RUN3 RUN4 --baseline mean_teacher --metric HD95",
    "semiseg compare SWEEP -o comparison",
    "semiseg compare Dataset104_Heart/studio/runs --reviews Dataset104_Heart",
)

UNSHOWN = ("method.options.", "manifest.")
"""Settings that methods differ in by nature, and versions: they are in the files."""


def run(
    out: Output,
    paths: Annotated[
        list[Path],
        argument("RUN... | SWEEP", "Run folders, folders that contain them, or a sweep."),
    ],
    output: Annotated[
        Path | None, flag("-o --output DIR", "Folder for tables (CSV, LaTeX, Markdown) and report.html.")
    ] = None,
    baseline: Annotated[
        str | None,
        flag("--baseline NAME", "Method that all others are tested against.  [default: supervised]"),
    ] = None,
    metric: Annotated[
        str, flag("--metric NAME", "Metric to test: Dice, Jaccard, NSD, HD95, HD95Max, ASD or ASSD.")
    ] = "Dice",
    alpha: Annotated[
        float, flag("--alpha A", "Significance level of the tests; intervals cover 1 - A.")
    ] = 0.05,
    seed: Annotated[int, flag("--seed N", "Random seed of the bootstrap.", min=0)] = 0,
    per_class: Annotated[bool, flag("--per-class", "Also show every class.")] = False,
    reviews: Annotated[
        Path | None,
        flag(
            "--reviews DATASET",
            "Also report what was accepted, corrected and preferred in the studio of this dataset.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Compare trained runs on the cases that all of them have scores for, one table per number of labels.

    Means and SDs over seeds, bootstrap intervals over cases, Wilcoxon signed-rank tests with Holm's
    correction, ranks, cost, published figures. A run's scores are those that `semiseg evaluate` wrote into
    RUN/test. Exit 5 when runs without scores are missing from the table.
    """
    from semiseg.comparison.report.write import FILES

    if output is not None:
        require_writable(output, "-o")
        if not overwrite:
            options.refuse_existing(*(output / name for name in FILES))

    from semiseg.comparison.compare import compare
    from semiseg.comparison.report.write import as_dict, write

    found = compare(
        [options.find_run(path) for path in paths], metric=metric, baseline=baseline, alpha=alpha, seed=seed
    )
    told = None
    if reviews is not None:
        from semiseg.labeling.reviews import lines, reviewed

        told = reviewed(reviews)
        found = replace(found, notices=(*found.notices, *lines(told)))
    show(out, found, per_class=per_class)
    files = write(found, output) if output else []
    if files:
        out.text(f"written: {plural(len(files), 'file')} into {output}, to look at first: {files[-1]}")
    report = {**as_dict(found), "files": [str(path) for path in files]}
    report |= {"reviews": told} if told is not None else {}
    if found.missing:
        raise PartialError(
            f"missing from the comparison: {len(found.missing)}; {found.missing[0]}",
            hint="the others are compared; score the missing runs, or leave them out",
            code="RUNS_MISSING",
            details=report,
        )
    out.result(report)


def show(out: Output, found: Comparison, *, per_class: bool = False) -> None:
    """Print the tables of a comparison and what a reader must know of them."""
    from semiseg.comparison.report.tables import shown
    from semiseg.comparison.report.write import different
    from semiseg.drawing.table import terminal

    for group in found.groups:
        for table in shown(found, group, per_class=per_class):
            out.text(terminal(table))
        set_otherwise = [line for line in different(group) if not line.startswith(UNSHOWN)]
        out.text(_lines("note", group.notices) + _lines("differs", set_otherwise))
    out.text(_lines("note", found.notices))


def _lines(what: str, lines: Sequence[str]) -> str:
    return "".join(f"{what}: {line}\n" for line in lines)
