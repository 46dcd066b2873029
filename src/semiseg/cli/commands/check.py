"""``semiseg check``."""

from __future__ import annotations

from typing import Annotated

from semiseg.cli import options
from semiseg.cli.options import flag
from semiseg.cli.output import Output, counted
from semiseg.errors import DataError

EXAMPLES = (
    "semiseg check Dataset104_Heart",
    "semiseg check Dataset104_Heart --fix",
    "semiseg check 104 --json",
)


def run(
    out: Output,
    dataset: options.Dataset,
    fix: Annotated[bool, flag("--fix", "Write a proposed label_map into dataset.json.")] = False,
    workers: options.Workers = None,
) -> None:
    """Find problems in a dataset folder and say how to fix them; exit 3 on errors.

    Looks at every file: unreadable or truncated ones, geometry of image and label, label values, NaN,
    constant images, duplicates between labeled, unlabeled and test cases, and counts.
    """
    from semiseg.dataset.check import check

    with counted(out, "check") as tick:
        report = check(dataset, fix=fix, workers=options.workers(workers), progress=tick)
    if report.ok:
        out.result(report.as_dict(), report.as_text())
        return
    out.text(report.as_text())
    number, hint = len(report.errors), report.errors[0].fix
    if proposal := report.proposed_label_map:
        hint = f"`semiseg check DATASET --fix` writes label_map {proposal} into dataset.json"
    raise DataError(
        f"{report.dataset} has {number} error{'s' * (number != 1)}",
        hint=hint or "fix what is named above, then check again",
        code=report.errors[0].code,
        details=report.as_dict(),
    )
