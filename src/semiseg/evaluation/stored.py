"""An evaluation read back from its ``summary.json``, and several put together, as the folds of a run are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semiseg.errors import UsageError
from semiseg.evaluation.case import Counts, Scale, Value
from semiseg.evaluation.results import CaseScores, Evaluation, key_of, spacing_unit
from semiseg.machine.files import read_json


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation that :func:`semiseg.evaluation.tables.write` has written into ``folder``.

    Raises:
        UsageError: it is not there, damaged, or of a version that did not keep the counts of the background.
    """
    path = folder / "summary.json"
    try:
        content = read_json(path)
        labels: dict[str, Value] = {
            name: tuple(value) if isinstance(value, list) else int(value)
            for name, value in content["labels"].items()
        }
        return Evaluation(
            cases=tuple(_case(entry, labels) for entry in content["metric_per_case"]),
            labels=labels,
            convention=content["convention"],
            nsd_tolerance_mm=float(content["nsd_tolerance_mm"]),
            failed=dict(content["failed"]),
            missing=tuple(content["missing"]),
            extra=tuple(content["extra"]),
            notices=tuple(content["notices"]),
            spacing_unit=content["spacing_unit"],
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(
            f"cannot read the scores {path}: {what}",
            hint="score the predictions again: semiseg evaluate REF PRED --overwrite",
            code="BAD_SCORES",
        ) from None


def _case(entry: Mapping[str, Any], labels: Mapping[str, Value]) -> CaseScores:
    grid, background = entry["grid"], entry["background"]
    rows = {name: entry["metrics"][key_of(value)] for name, value in labels.items()}
    return CaseScores(
        case=entry["case"],
        metrics={
            name: {m: math.nan if v is None else float(v) for m, v in row.items() if m != "IoU"}
            for name, row in rows.items()
        },
        scale=Scale(tuple(grid["shape"]), tuple(grid["spacing"]), grid["unit"]),
        total=int(background["total"]),
        background=Counts(*(int(background[key]) for key in Counts._fields)),
        reference_file=entry["reference_file"],
        prediction_file=entry["prediction_file"],
    )


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Several evaluations of different cases, counted by one rule, as one.

    Raises:
        UsageError: they differ in their classes or rules, or score a case twice.
    """
    first = parts[0]
    rules = {(p.convention, p.nsd_tolerance_mm, tuple(p.labels.items())) for p in parts}
    cases = tuple(case for part in parts for case in part.cases)
    if len(rules) > 1 or len({case.case for case in cases}) < len(cases):
        raise UsageError(
            "the scores of these runs cannot be put together: their classes, conventions or cases overlap or "
            "differ",
            hint="score all runs alike, each on cases of its own",
            code="SCORES_DIFFER",
        )
    unit, notices = spacing_unit(cases)
    return Evaluation(
        cases=cases,
        labels=first.labels,
        convention=first.convention,
        nsd_tolerance_mm=first.nsd_tolerance_mm,
        failed={case: why for part in parts for case, why in part.failed.items()},
        missing=tuple(case for part in parts for case in part.missing),
        extra=tuple(case for part in parts for case in part.extra),
        notices=(*dict.fromkeys(line for part in parts for line in part.notices), *notices),
        spacing_unit=unit,
    )
