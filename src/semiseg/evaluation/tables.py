"""An evaluation as summary.json, metrics.csv and a table on the terminal; read back, and put together."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.drawing.table import Table, TableCell, csv_rows, heads, terminal
from semiseg.drawing.table import Value as Shown
from semiseg.errors import UsageError, plural
from semiseg.evaluation import conventions, groups
from semiseg.evaluation.case import COUNTS, METRICS, ClassMetrics, Counts, Scale, Value
from semiseg.evaluation.results import (
    AGGREGATION,
    CaseScores,
    Evaluation,
    Stats,
    each_value,
    key_of,
    over_classes,
    spacing_unit,
    statistics,
)
from semiseg.machine.claim import held
from semiseg.machine.files import plain, read_json, write_text, writing

if TYPE_CHECKING:
    from rich.table import Table as RichTable

COLUMNS = ("Dice", "Jaccard", "HD95", "HD95Max", "ASD", "ASSD", "NSD", "VolumeError")
"""Of the terminal table, where the convention has them; the files hold every metric."""


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """nnU-Net's skeleton with our metrics beside; NaN and infinity become None, as JSON has neither."""
    stats = _all_stats(evaluation)
    keys = {label: key_of(value) for label, value in evaluation.labels.items()}
    means = {keys[label]: {m: s.mean for m, s in by_metric.items()} for label, by_metric in stats.items()}
    whole: dict[str, Any] = {
        "foreground_mean": _with_iou(_foreground_mean(stats, evaluation.convention)),
        "mean": {key: _with_iou(values) for key, values in means.items()},
        "metric_per_case": [
            {
                "case": case.case,
                "reference_file": case.reference_file,
                "prediction_file": case.prediction_file,
                "metrics": {keys[label]: _with_iou(dict(row)) for label, row in case.metrics.items()},
                "background": case.background._asdict(),
                "grid": case.scale._asdict(),
            }
            for case in evaluation.cases
        ],
        "sd": {keys[label]: {m: s.sd for m, s in row.items()} for label, row in stats.items()},
        "counted": {keys[label]: {m: s.counted for m, s in row.items()} for label, row in stats.items()},
        "empties": {keys[label]: evaluation.empties(label) for label in evaluation.labels},
        "dataset_level": _dataset_level(evaluation),
        **({"groups": _by_group(evaluation, keys)} if evaluation.groups else {}),
        "labels": dict(evaluation.labels),
        "cases": len(evaluation.cases),
        "convention": evaluation.convention,
        "convention_source": conventions.find(evaluation.convention).source,
        "unit": evaluation.unit,
        "spacing_unit": evaluation.spacing_unit,
        "nsd_tolerance_mm": evaluation.nsd_tolerance_mm,
        "aggregation": AGGREGATION,
        "failed": dict(evaluation.failed),
        "missing": list(evaluation.missing),
        "extra": list(evaluation.extra),
        "notices": list(evaluation.notices),
    }
    content: dict[str, Any] = plain(whole)
    return content


def metrics_csv(evaluation: Evaluation) -> str:
    """One row per case and class; an undefined value is an empty field."""
    rows: list[dict[str, Shown]] = []
    for case, label, value, row in each_value(evaluation):
        whole = {m: int(v) if m in COUNTS and not math.isnan(v) else v for m, v in row.items()}
        rows.append({"case": case.case, "class": label, "label": value, **whole})
    return csv_rows(rows, ["case", "class", "label", *METRICS])


def tables_of(evaluation: Evaluation) -> list[Table]:
    """What a notebook shows: mean ± SD for each class, and the means of groups."""
    return [table(evaluation), *([group_table(evaluation)] if evaluation.groups else [])]


def group_table(evaluation: Evaluation) -> Table:
    """The means of each group, in the columns of :func:`table`."""
    present = {metric for case in evaluation.cases for row in case.metrics.values() for metric in row}
    return groups.table(evaluation, [metric for metric in _columns(evaluation) if metric in present])


def records_of(evaluation: Evaluation) -> list[dict[str, Any]]:
    """A row for each case and class, with every metric."""
    return [{"case": case.case, "class": label, **row} for case, label, _, row in each_value(evaluation)]


def rich_table(evaluation: Evaluation) -> RichTable:
    """The table of :func:`table` for the terminal."""
    return terminal(table(evaluation))


def table(evaluation: Evaluation) -> Table:
    """Mean ± SD for each class; ``(n)`` marks a cell whose mean holds fewer cases than were compared."""
    stats = _all_stats(evaluation)
    shown = [m for m in _columns(evaluation) if any(m in row for row in stats.values())]
    cases = len(evaluation.cases)
    rows = []
    for label, row in stats.items():
        found = evaluation.empties(label)
        empty = sum(found.values()) - found["neither_empty"]
        rows.append([label, str(empty), *(_cell(row.get(m), cases) for m in shown)])
    if len(stats) > 1:
        means = _foreground_mean(stats, evaluation.convention)
        rows.append(["mean", "", *(_number(means[m]) for m in shown)])
    tolerance = f"{evaluation.nsd_tolerance_mm:g} {evaluation.spacing_unit}"
    unit = f"; distances in {evaluation.unit}, NSD at {tolerance}"
    return Table(
        f"{plural(cases, 'case')}, convention {evaluation.convention}",
        heads(("class", "empty", *shown)),
        tuple(tuple(map(TableCell, row)) for row in rows),
        (
            "mean ± SD over cases, (n) where only n of them count; empty: cases with an empty mask"
            f"{unit if 'HD95' in shown else ''}; VolumeError is relative and signed",
        ),
        frozenset({len(stats) - 1}),
    )


def _columns(evaluation: Evaluation) -> list[str]:
    """Papers in voxels print the directed ASD, all others the symmetric one; a table has room for one."""
    spare = "ASSD" if evaluation.unit == "voxel" else "ASD"
    return [m for m in COLUMNS if m != spare]


def write(evaluation: Evaluation, folder: str | Path) -> tuple[Path, Path]:
    """Write ``summary.json`` and ``metrics.csv`` into ``folder``, each whole or not at all.

    Raises:
        UsageError: the folder cannot be written, or is a run, whose ``metrics.csv`` is another file.
    """
    folder = Path(folder)
    require_no_run(folder)
    text = json.dumps(summary(evaluation), indent=2, allow_nan=False) + "\n"
    paths = folder / "summary.json", folder / "metrics.csv"
    with writing(f"the evaluation into {folder}", "choose another output folder with -o"), held(folder, "-o"):
        write_text(paths[0], text)
        write_text(paths[1], metrics_csv(evaluation))
    return paths


def require_no_run(folder: Path) -> None:
    """Refuse scores in the place of the log of a training: the folder is a run (UsageError)."""
    if (folder / "config.yaml").is_file() and (folder / "checkpoints").is_dir():
        raise UsageError(
            f"{folder} is a run, whose metrics.csv is the log of its training",
            hint=f"write scores below it: -o {shlex.quote(str(folder / 'test'))}",
            code="EXISTS",
        )


def _all_stats(evaluation: Evaluation) -> dict[str, dict[str, Stats]]:
    stats = {}
    for label in evaluation.labels:
        rows = evaluation.rows(label)
        present = [m for m in METRICS if any(m in row for row in rows)]
        stats[label] = {m: statistics(row[m] for row in rows if m in row) for m in present}
    return stats


def _foreground_mean(stats: dict[str, dict[str, Stats]], convention: str) -> ClassMetrics:
    present = [m for m in METRICS if any(m in row for row in stats.values())]
    rule = conventions.find(convention).undefined_class
    return {m: over_classes((row[m].mean for row in stats.values() if m in row), rule) for m in present}


def _dataset_level(evaluation: Evaluation) -> dict[str, Any]:
    """IoU of the voxels of all cases together, per class and their means (mIoU)."""
    found = evaluation.dataset_iou(background=True)
    foreground = {name: value for name, value in found.items() if name in evaluation.labels}
    return {
        "IoU": {key_of(evaluation.labels.get(name, 0)): value for name, value in found.items()},
        "mIoU": statistics(foreground.values()).mean,
        "mIoU_with_background": statistics(found.values()).mean,
    }


def _by_group(evaluation: Evaluation, keys: Mapping[str, str]) -> dict[str, Any]:
    """Cases of each group, and the means over them per class."""
    means = groups.group_means(evaluation)
    return {
        group: {
            "cases": cases,
            "mean": {keys[label]: _with_iou(row) for label, row in means[group].items()},
        }
        for group, cases in groups.members(evaluation).items()
    }


def _with_iou(row: ClassMetrics) -> ClassMetrics:
    """Add nnU-Net's name of the Jaccard index."""
    return {**row, "IoU": row["Jaccard"]} if "Jaccard" in row else row


def _cell(stats: Stats | None, cases: int) -> str:
    if stats is None or not stats.counted:
        return "-"
    lines = [_number(stats.mean)]
    if not math.isnan(stats.sd):
        lines.append(f"± {_number(stats.sd)}")
    if stats.counted != cases:
        lines.append(f"({stats.counted})")
    return "\n".join(lines)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


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
            groups={
                case: group for group, found in content.get("groups", {}).items() for case in found["cases"]
            },
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged_scores(path, error) from None


def damaged_scores(path: Path, error: Exception) -> UsageError:
    """The error for scores that cannot be read."""
    what = f"no {error}" if isinstance(error, KeyError) else str(error)
    return UsageError(
        f"cannot read the scores {path}: {what}",
        hint="score the predictions again: semiseg evaluate REF PRED --overwrite",
        code="BAD_SCORES",
    )


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
