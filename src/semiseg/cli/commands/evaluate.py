"""``semiseg evaluate``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from semiseg.cli import options
from semiseg.cli.options import argument, flag
from semiseg.cli.output import Output, counted
from semiseg.machine.claim import held

_MOST_NOTICES = 10

EXAMPLES = (
    "semiseg evaluate Dataset104_Heart/labelsTs predictions",
    "semiseg evaluate labels predictions --dataset Dataset104_Heart -o scores",
    "semiseg evaluate labels predictions --convention uamt",
    "semiseg evaluate labels predictions --group patient",
)


def run(
    out: Output,
    reference: Annotated[Path, argument("REF", "Folder or file of references.")],
    prediction: Annotated[Path, argument("PRED", "Folder or file of predictions.")],
    dataset: Annotated[
        str | None,
        flag("--dataset DATASET", "Dataset that names the classes.  [default: dataset.json beside REF]"),
    ] = None,
    output: Annotated[
        Path | None, flag("-o --output DIR", "Folder for summary.json and metrics.csv.  [default: PRED]")
    ] = None,
    convention: Annotated[
        str,
        flag(
            "--convention --legacy NAME",
            "Metric convention: semiseg, uamt, ssl4mis, pymic, monai, reloaded, nnunet or brats.",
        ),
    ] = "semiseg",
    tolerance: Annotated[float, flag("--nsd-tolerance MM", "Tolerance of NSD, in mm.")] = 1.0,
    distances: Annotated[
        bool, flag("--distances/--no-distances", "Also compute surface metrics (slower).")
    ] = True,
    allow_missing: Annotated[
        bool, flag("--allow-missing", "Accept references without a prediction.")
    ] = False,
    group: Annotated[
        str | None,
        flag(
            "--group RULE",
            "Also score by group: patient, a key of cases in dataset.json (center), a number of leading "
            "characters, or a regular expression with one group.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    workers: options.Workers = None,
) -> None:
    """Score segmentations against references: Dice, Jaccard, HD95, ASD, NSD and volumes, per case and class.

    Distances are in mm unless a published convention says otherwise. Writes summary.json and metrics.csv;
    exit 5 when some cases could not be compared.
    """
    from semiseg.drawing.table import terminal
    from semiseg.evaluation.evaluate import evaluate_folders
    from semiseg.evaluation.tables import group_table, require_no_run, rich_table, summary, write

    folder = output or (prediction if prediction.is_dir() else prediction.parent)
    require_no_run(folder)
    with held(folder, "-o"):
        if not overwrite:
            options.refuse_existing(folder / "summary.json", folder / "metrics.csv")
        with counted(out, "evaluate") as tick:
            evaluation = evaluate_folders(
                reference,
                prediction,
                dataset=dataset,
                convention=convention,
                nsd_tolerance_mm=tolerance,
                distances=distances,
                allow_missing=allow_missing,
                group=group,
                workers=options.workers(workers),
                progress=tick,
            )
        files = write(evaluation, folder)
    out.text(rich_table(evaluation))
    if evaluation.groups:
        out.text(terminal(group_table(evaluation)))
    for line in (*_notices(evaluation.notices), f"written: {', '.join(map(str, files))}"):
        out.text(line)
    report = {**summary(evaluation), "files": files}
    if (problem := evaluation.problem()) is not None:
        problem.details.update(report)
        raise problem
    out.result(report)


def _notices(notices: Sequence[str]) -> Iterator[str]:
    yield from (f"notice: {text}" for text in notices[:_MOST_NOTICES])
    if notices[_MOST_NOTICES:]:
        yield f"notice: and {len(notices) - _MOST_NOTICES} more, in summary.json"
