"""Scores by group: the cases of a patient, a video or a center together, beside those per case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.drawing.table import Table, TableCell, heads
from semiseg.errors import UsageError, plural
from semiseg.evaluation.case import METRICS, ClassMetrics
from semiseg.evaluation.results import statistics

if TYPE_CHECKING:
    from semiseg.evaluation.results import Evaluation

PATIENT = "patient"
_NONE = "(none)"
"""The group of cases of which nothing is said."""


def groups_of(cases: Iterable[str], by: str, root: Path | None) -> dict[str, str]:
    """Case -> group.

    Args:
        cases: ids.
        by: ``patient``, as ``group_by_patient`` of the dataset's split file or the names of cases say; a key
            of ``cases`` in ``dataset.json``, such as ``center``; a number of leading characters; or a regular
            expression with one group.
        root: of the dataset, where there is one.

    Raises:
        UsageError: none of these.
    """
    from semiseg.dataset.patient import PatientRule, rule_from_names
    from semiseg.dataset.split_file import read_split_file

    ids = list(cases)
    table = _told(root)
    if any(by in facts for facts in table.values()):
        return {case: str(table.get(case, {}).get(by, _NONE)) for case in ids}
    lists = read_split_file(root)[0] if root else None
    rule: PatientRule | str | None = (lists.patients if lists else None) or rule_from_names(ids)
    if by != PATIENT:
        rule = PatientRule.parse(int(by) if by.isdecimal() else by)
    if not isinstance(rule, PatientRule):
        keys = sorted({key for facts in table.values() for key in facts})
        raise UsageError(
            f"--group {by} says nothing of these cases",
            hint=f"give a number of leading characters, a regular expression with a group "
            f"('(patient\\d+)'){''.join(f', {key}' for key in keys)}; or patient, where splits.json has "
            "group_by_patient",
            code="GROUP",
        )
    return {case: rule.patient(case) or _NONE for case in ids}


def _told(root: Path | None) -> dict[str, dict[str, Any]]:
    """What ``dataset.json`` says of each case."""
    from semiseg.dataset.description import read_description

    said = read_description(root)[0].free.get("cases") if root else None
    table = said if isinstance(said, Mapping) else {}
    return {case: dict(facts) for case, facts in table.items() if isinstance(facts, Mapping)}


def members(evaluation: Evaluation) -> dict[str, list[str]]:
    """Group -> its cases, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for case in evaluation.cases:
        found[evaluation.groups.get(case.case, _NONE)].append(case.case)
    return dict(sorted(found.items()))


def group_means(evaluation: Evaluation) -> dict[str, dict[str, ClassMetrics]]:
    """Group -> class -> the mean of each metric over the cases of the group."""
    rows = {case.case: case.metrics for case in evaluation.cases}
    return {
        group: {
            label: {
                metric: statistics(values).mean
                for metric in METRICS
                if (values := [rows[case][label][metric] for case in cases if metric in rows[case][label]])
            }
            for label in evaluation.labels
        }
        for group, cases in members(evaluation).items()
    }


def table(evaluation: Evaluation, columns: Sequence[str]) -> Table:
    """A line for each group: its cases, and the means over its classes."""
    sizes = {group: len(cases) for group, cases in members(evaluation).items()}
    rows = []
    for group, by_class in group_means(evaluation).items():
        shown = [statistics(row[m] for row in by_class.values() if m in row).mean for m in columns]
        rows.append((group, str(sizes[group]), *("-" if v != v else f"{v:.3f}" for v in shown)))
    return Table(
        plural(len(rows), "group"),
        heads(("group", "cases", *columns)),
        tuple(tuple(map(TableCell, row)) for row in rows),
        ("means over the cases of a group, then over classes",),
    )
