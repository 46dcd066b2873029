"""Label values over the whole dataset, and the ``label_map`` that would put them right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from semiseg.atomic import read_json, write_text
from semiseg.data.cases import LabeledCase
from semiseg.data.checks.case import Finding
from semiseg.data.checks.voxels import histogram
from semiseg.data.dataset_json import FILE, Description
from semiseg.data.problem import Problem
from semiseg.data.scan import relative
from semiseg.errors import UsageError


def declared_values(description: Description) -> set[int]:
    """Values that a label file may hold once ``label_map`` is applied."""
    ignore = description.ignore_value
    return {*description.labels.values(), *([] if ignore is None else [ignore])}


def propose_label_map(findings: Sequence[Finding], description: Description) -> dict[int, int]:
    """A map from the values in the files to the declared ones, when there is only one sensible choice.

    Values keep their order: with classes 0-3 declared, files that hold 0, 1, 2 and 4 get ``{4: 3}``. Nothing
    is proposed when the numbers of values differ, because then a person has to say which class is which.
    """
    found = {value for finding in findings for value in finding.values or {}} - {0}
    declared = declared_values(description) - {0}
    known = description.label_map
    if all(known.get(value, value) in {*declared, 0} for value in found):
        return {}
    if description.ignore_value is not None and len(found) == len(declared) - 1:
        declared -= {description.ignore_value}  # no file uses it
    if len(found) != len(declared) or min(found) < 0:
        return {}
    pairs = zip(sorted(found), sorted(declared), strict=True)
    return {value: target for value, target in pairs if value != target}


def label_problems(
    findings: Sequence[Finding], description: Description, proposal: Mapping[int, int], root: Path
) -> list[Problem]:
    """Unexpected values and empty labels per case, classes that no case has."""
    problems = []
    for finding in findings:
        if finding.values is not None and isinstance(finding.case, LabeledCase):
            problems += _of_case(finding, finding.case, description, proposal, root)
    return problems + _unused_classes(findings, description, bool(proposal))


def _of_case(
    finding: Finding,
    case: LabeledCase,
    description: Description,
    proposal: Mapping[int, int],
    root: Path,
) -> list[Problem]:
    values = finding.values or {}
    file = relative(case.label, root)
    mapped = {description.label_map.get(value, value) for value in values}
    allowed = declared_values(description)
    if mapped - allowed:
        wanted = ", ".join(map(str, sorted(allowed))) + " (labels of dataset.json)"
        got = f"values and voxels {{{histogram(values)}}}"
        return [Problem("LABEL_VALUES", got, wanted, _fix(proposal), case.id, file)]
    if not mapped - {0, description.ignore_value}:
        fix = "fine if nothing is to be found in this scan; if it was never annotated, remove the label file"
        return [Problem("EMPTY_LABEL", "only background", "a class", fix, case.id, file, "warning")]
    return []


def _fix(proposal: Mapping[int, int]) -> str:
    if proposal:
        text = json.dumps({str(k): v for k, v in proposal.items()})
        return f'`semiseg check --fix` adds "label_map": {text} to dataset.json'
    return 'declare the value under "labels" of dataset.json, or map it with "label_map": {"VALUE": CLASS}'


def _unused_classes(findings: Sequence[Finding], description: Description, unmapped: bool) -> list[Problem]:
    found = {
        description.label_map.get(value, value)
        for finding in findings
        if isinstance(finding.case, LabeledCase)
        for value in finding.values or {}
    }
    if not found or unmapped:
        return []
    return [
        Problem(
            "MISSING_CLASS",
            f"no label file with class {name!r} (value {value})",
            "every class in at least one case",
            "remove the class from labels, or check that its value is right",
            file=FILE,
            severity="warning",
        )
        for name, value in description.labels.items()
        if value not in found and value != 0
    ]


def write_label_map(root: Path, label_map: Mapping[int, int]) -> None:
    """Add ``label_map`` to ``dataset.json``, keeping everything else; the file is replaced in one step.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        _write(root, label_map)
    except OSError as error:
        raise UsageError(
            f"cannot write {root / FILE}: {error.strerror or error}",
            hint="check permissions and free space",
            code="CANNOT_WRITE",
        ) from error


def _write(root: Path, label_map: Mapping[int, int]) -> None:
    path = root / FILE
    content = read_json(path)
    content["label_map"] = {**content.get("label_map", {}), **{str(k): v for k, v in label_map.items()}}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
