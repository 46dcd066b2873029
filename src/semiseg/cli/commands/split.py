"""``semiseg split``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from semiseg.cli import options
from semiseg.cli.options import flag
from semiseg.cli.output import Output
from semiseg.errors import plural

if TYPE_CHECKING:
    from semiseg.dataset.write_split import SplitLists

EXAMPLES = (
    "semiseg split Dataset104_Heart --folds 5",
    "semiseg split Dataset104_Heart --folds 5 --val 0.2 --group '(patient[0-9]+)'",
    "semiseg split Dataset104_Heart --val 0.2",
)


def run(
    out: Output,
    dataset: options.Dataset,
    folds: Annotated[
        int | None, flag("--folds N", "Number of folds.  [default: 5; none with --val alone]", min=2)
    ] = None,
    val: Annotated[
        float | None,
        flag("--val SHARE", "Share of the labeled cases to hold out for choosing weights, such as 0.2."),
    ] = None,
    group: Annotated[
        str | None,
        flag(
            "--group RULE",
            "Patient of a case: N leading characters of its name, or a regular expression with a group.",
        ),
    ] = None,
    seed: options.Seed = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Cut the labeled cases into folds, patient by patient, and write them into splits.json.

    Each labeled case is held out once, and scored by the training that has not seen it: `semiseg train
    DATASET --fold all`. No image and no label is opened.
    """
    from semiseg.dataset.write_split import split

    made = split(dataset, folds=folds, val=val, group=group, seed=seed or 0, overwrite=overwrite)
    out.result(made.as_dict(), "\n".join(_lines(made, dataset)))


def _lines(made: SplitLists, dataset: str) -> Iterator[str]:
    yield from made.decisions
    for number, fold in enumerate(made.folds):
        val = f", {plural(len(fold.val), 'chooses', 'choose')} the weights" if fold.val else ""
        yield f"fold {number}: {len(fold.labeled or ())} labeled{val}, {len(fold.held_out)} held out"
    if made.val:
        yield f"{plural(len(made.val), 'validation case chooses', 'validation cases choose')} the weights"
    yield f"written: {made.file}"
    what = "--fold all" if made.folds else ""
    yield f"next: semiseg train {shlex.quote(dataset)} {what}".rstrip()
