"""What papers reported for the same method, dataset and number of labels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from semiseg import methods
from semiseg.comparison.result import Arm, Published, Summary
from semiseg.methods import published
from semiseg.settings.options import declared

COLUMNS = {"Dice": "dice", "Jaccard": "jaccard", "HD95": "hd95", "ASD": "asd"}
PERCENT = ("Dice", "Jaccard")
"""Published in percent; here in [0, 1]."""

Row = dict[str, str]


def beside(
    arms: Iterable[Arm], metrics: Sequence[str], summaries: Sequence[Summary]
) -> tuple[Published, ...]:
    """Published figures of the arms' methods on the same dataset with as many labels.

    A figure is comparable when the run follows the recipe that the table of published figures names for it.
    Papers give distances in voxels: beside millimeters they have no gap.
    """
    means = {(s.arm, s.metric): s.mean for s in summaries if s.label is None}
    found = []
    for arm in arms:
        for row in published(arm.method):
            if not _same_setting(row, arm):
                continue
            for metric in metrics:
                if value := row.get(COLUMNS.get(metric, ""), ""):
                    found.append(_figure(row, arm, metric, float(value), means[arm.name, metric]))
    return tuple(found)


def _same_setting(row: Row, arm: Arm) -> bool:
    """The same dataset, and as many labels of the same kind."""
    if not row["labeled"] or not _same_dataset(row["dataset"], arm.dataset):
        return False
    patients = arm.runs[0].config["data"]["labeled_patients"]
    if row["unit"] == "patients":
        return patients is not None and float(row["labeled"]) == patients
    return row["unit"] == "scans" and float(row["labeled"]) == arm.labeled


def _same_dataset(paper: str, ours: str) -> bool:
    """``left atrium`` is ``Dataset101_LeftAtrium``."""
    theirs = _letters(paper)
    return bool(theirs) and _letters(re.sub(r"^Dataset\d+_", "", ours)).startswith(theirs)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _other_options(row: Row, arm: Arm) -> list[str]:
    """What a setting such as ``dice=acdc_legacy`` says of the method otherwise than the run has it."""
    known = declared(methods.find(arm.method)) if arm.method in methods.names() else {}
    given = arm.runs[0].config["method"]["options"]
    wanted = (part.partition("=") for part in re.split(r",\s*", row["setting"]))
    return [
        f"published with {name}={value}"
        for name, _, value in wanted
        if name in known and str(given.get(name, known[name].default)) != value
    ]


def _figure(row: Row, arm: Arm, metric: str, value: float, ours: float) -> Published:
    value = value / 100 if metric in PERCENT else value
    run = arm.runs[0]
    same_unit = metric in PERCENT or run.convention in ("uamt", "ssl4mis")
    named = re.findall(r"recipe ``(\w+)``", row["why"])
    why = row["why"].replace("``", "`")
    reasons = [] if run.recipe in named else [why or f"recipe {run.recipe}, not the paper's"]
    reasons += _other_options(row, arm)
    reasons += [] if same_unit else [f"papers give {metric} in voxels"]
    return Published(
        arm=arm.name,
        metric=metric,
        value=value,
        gap=ours - value if same_unit else math.nan,
        comparable=not reasons,
        why="; ".join(reasons),
        setting=row["setting"],
        source=row["source"],
    )
