"""What only shows when all cases are seen together: label values and the ``label_map`` that would put them
right, the same scan twice, mixed 2D and 3D, too few labels.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from semiseg.dataset.case import Case, LabeledCase
from semiseg.dataset.check.case import histogram, two_ends
from semiseg.dataset.description import FILE, Description
from semiseg.dataset.files import FolderContents, relative
from semiseg.dataset.folds import CaseIds, in_no_fold
from semiseg.dataset.problem import Finding, Problem
from semiseg.dataset.split_file import SplitFile
from semiseg.errors import plural, some
from semiseg.machine.files import read_json, write_text, writing


def declared_values(description: Description) -> set[int]:
    """Values that a label file may hold once ``label_map`` is applied."""
    ignore = description.ignore_value
    return {*description.labels.values(), *([] if ignore is None else [ignore])}


def propose_label_map(findings: Sequence[Finding], description: Description) -> dict[int, int]:
    """A map from the values in the files to the declared ones, when there is only one sensible choice.

    Values keep their order: with classes 0-3 declared, files that hold 0, 1, 2 and 4 get ``{4: 3}``. Nothing
    is proposed when the numbers of values differ, because then a person has to say which class is which.
    """
    if description.label_map.get(0):  # no background: maps are written by hand
        return {}
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
    finding: Finding, case: LabeledCase, description: Description, proposal: Mapping[int, int], root: Path
) -> list[Problem]:
    values = finding.values or {}
    file = relative(case.label, root)
    mapped = {description.label_map.get(value, value) for value in values}
    allowed = declared_values(description)
    if mapped - allowed:
        raised = 1 if description.label_map.get(0) else 0
        wanted = (
            ", ".join(str(v - raised) for v in sorted(allowed) if v >= raised) + " (labels of dataset.json)"
        )
        got = f"values and voxels {{{histogram(values)}}}"
        fix = _BLURRED if two_ends(values) else _fix(proposal, min(mapped))
        return [Problem("LABEL_VALUES", got, wanted, fix, case.id, file)]
    if not mapped - {0, description.ignore_value}:
        fix = "fine if nothing is to be found in this scan; if it was never annotated, remove the label file"
        return [Problem("EMPTY_LABEL", "only background", "a class", fix, case.id, file, "warning")]
    return []


def inverted_problems(findings: Sequence[Finding], description: Description) -> list[Problem]:
    """Labels of one class whose frame is the class, with background inside: black and white exchanged."""
    if len(description.labels) != 2 or description.label_map.get(0):
        return []
    (value,) = set(description.labels.values()) - {0}
    known = [finding for finding in findings if finding.values]
    turned = [f for f in known if f.frame and description.label_map.get(f.frame, f.frame) == value]
    turned = [finding for finding in turned if (finding.values or {}).get(0)]
    if not turned:
        return []
    whole = len(turned) == len(known)
    which = "all labels" if whole else f"labels of {len(turned)} of {plural(len(known), 'case')}"
    name = next(name for name, number in description.labels.items() if number == value)
    return [
        Problem(
            "INVERTED_LABEL",
            f"{which} ({some([finding.case.id for finding in turned])}) whose outer frame is {name}, with "
            "background inside",
            f"{name} inside of the background",
            "look at one of them: where black and white are exchanged, invert the mask",
            case="" if whole else turned[0].case.id,
            severity="warning",
        )
    ]


_BLURRED = (
    "these are black and white blurred by JPEG or smooth edges: save the masks as PNG with two values, or "
    "give scans and masks to `semiseg init`, which does so"
)


def _fix(proposal: Mapping[int, int], lowest: int) -> str:
    if proposal:
        text = json.dumps({str(k): v for k, v in proposal.items()})
        return f'`semiseg check --fix` adds "label_map": {text} to dataset.json'
    if lowest < 0:
        return (
            f'no class is below 0: map it with "label_map": {{"{lowest}": 0}} to the background, or to the '
            "value of a class or of ignore"
        )
    return 'declare the value under "labels" of dataset.json, or map it with "label_map": {"VALUE": CLASS}'


def _unused_classes(findings: Sequence[Finding], description: Description, unmapped: bool) -> list[Problem]:
    labeled = [finding for finding in findings if isinstance(finding.case, LabeledCase)]
    found = {description.label_map.get(v, v) for finding in labeled for v in finding.values or {}}
    unknown = any(finding.values is None for finding in labeled) or found - declared_values(description)
    if not found or unmapped or unknown:  # told already, and the class may be there
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
    path = root / FILE
    with writing(str(path), "check permissions and free space"):
        content = read_json(path)
        content["label_map"] = {**content.get("label_map", {}), **{str(k): v for k, v in label_map.items()}}
        write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def roles(found: FolderContents, splits: SplitFile | None) -> dict[str, str]:
    """Case id -> labeled, unlabeled, val or test, by folder and then by the published lists."""
    lists: dict[str, Sequence[Case]] = {
        "unlabeled": found.unannotated, "labeled": found.annotated, "test": found.test,
    }  # fmt: skip
    role = {case.id: name for name, cases in lists.items() for case in cases}
    if splits is not None:
        role |= {name: "val" for fold in splits.folds for name in fold.val}
        role |= {name: "test" for name in splits.test or ()}
    return role


def duplicates(findings: Sequence[Finding], role: Mapping[str, str]) -> list[Problem]:
    """Cases whose decoded images are equal. Across lists that is a leak, within one a waste."""
    return [
        Problem(
            "DUPLICATE_CONTENT",
            f"the same voxels in {_with_lists(same, role)}",
            "every scan once",
            "remove all but one; keep it in test if it is there",
            case=same[0].case.id,
            severity="error" if len(_lists(same, role)) > 1 else "warning",
        )
        for same in _equal(findings, lambda finding: finding.digest)
    ]


def _equal(findings: Sequence[Finding], key: Callable[[Finding], str | None]) -> list[list[Finding]]:
    """The cases that share a key with another one, together."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if (value := key(finding)) is not None:
            found[value].append(finding)
    return [same for same in found.values() if len(same) > 1]


def _lists(findings: Sequence[Finding], role: Mapping[str, str]) -> set[str]:
    return {role.get(finding.case.id, "unlabeled") for finding in findings}


def _with_lists(findings: Sequence[Finding], role: Mapping[str, str]) -> str:
    """``case_1 (labeled), case_2 (test)``."""
    return ", ".join(f"{f.case.id} ({role.get(f.case.id, 'unlabeled')})" for f in findings)


def twins(
    findings: Sequence[Finding], role: Mapping[str, str], splits: SplitFile | None = None
) -> list[Problem]:
    """Cases whose masks are equal after cropping though their images are not: one acquisition twice.

    With few labels such a pair puts a labeled scan among the unlabeled ones, or a training scan into the test
    list. Only labels of labeled cases are compared: no other case has one. Published lists that do so are
    kept, which is told.
    """
    problems = []
    for pair in _equal(findings, lambda finding: finding.mask):
        if len({finding.digest for finding in pair}) < 2:  # equal images are told of already
            continue
        lists = _lists(pair, role)
        known = splits is not None and any({f.case.id for f in pair} <= cut for cut in splits.cut)
        leak = "test" in lists and len(lists) > 1
        problems.append(
            Problem(
                "DUPLICATE_MASK",
                f"the same mask, to the voxel, in {_with_lists(pair, role)}",
                "every acquisition once",
                "it is kept as the list was published; scores of the test case are too good"
                if known
                else "look at both scans; if they show one acquisition, keep one of them",
                case=pair[0].case.id,
                severity="error" if leak and not known else "warning",
            )
        )
    return problems


def unfolded(found: FolderContents, splits: SplitFile) -> list[Problem]:
    """Labeled cases that no fold holds out, because they were labeled after the folds were made."""
    lists = (found.annotated, found.unannotated, found.test)
    without = in_no_fold(splits, CaseIds(*(tuple(case.id for case in cases) for cases in lists)))
    if not without:
        return []
    got = f"{plural(len(without), 'labeled case')} in no fold of cross_validation ({some(without)})"
    fix = "`semiseg split DATASET --overwrite` assigns all labeled cases again"
    return [Problem("IN_NO_FOLD", got, "every labeled case held out once", fix, severity="warning")]


def mixed_dimensions(findings: Sequence[Finding]) -> list[Problem]:
    """2D and 3D images in one dataset."""
    by: dict[int, list[str]] = defaultdict(list)
    for finding in findings:
        if finding.dim:
            by[finding.dim].append(finding.case.id)
    if len(by) < 2:
        return []
    few = min(by, key=lambda dim: len(by[dim]))
    counts = " and ".join(plural(len(cases), f"{dim}D case") for dim, cases in sorted(by.items()))
    fix = f"take out the {few}D cases ({some(by[few])})"
    return [Problem("MIXED_DIMENSIONS", counts, "all 2D or all 3D", fix, case=by[few][0])]


def too_few(found: FolderContents) -> list[Problem]:
    """Nothing to learn from, or nothing that semi-supervised training adds."""
    labeled, problems = len(found.annotated), []
    if labeled == 0:
        fix = "put the label of at least one training case into labelsTr as CASE plus the file ending"
        problems.append(Problem("NO_LABELED", "no case with a label", "at least one", fix))
    if labeled == 1:
        fix, case = "label a second case, so that one can be kept for validation", found.annotated[0].id
        got = "one labeled case only"
        problems.append(Problem("ONE_LABELED", got, "two or more", fix, case, severity="warning"))
    if not found.unannotated:
        fix = "put scans without labels into imagesUn"
        if labeled > 1:
            fix += f", or use fewer labels with `semiseg train --labeled K` (K below {labeled})"
        got, wanted = "no case without a label", "unlabeled scans to learn from"
        problems.append(Problem("NO_UNLABELED", got, wanted, fix, severity="warning"))
    return problems
