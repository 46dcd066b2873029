"""What only shows when all cases are seen together: the same scan twice, mixed 2D and 3D, too few labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from semiseg.data.checks.case import Finding
from semiseg.data.problem import Problem
from semiseg.data.scan import Scan
from semiseg.data.split_file import SplitFile


def roles(found: Scan, splits: SplitFile | None) -> dict[str, str]:
    """Case id -> labeled, unlabeled, val or test, by folder and then by the published lists."""
    role = {case.id: "unlabeled" for case in found.unannotated}
    role |= {case.id: "labeled" for case in found.annotated}
    role |= {case.id: "test" for case in found.test}
    if splits is not None:
        role |= {name: "val" for fold in splits.folds for name in fold.val}
        role |= {name: "test" for name in splits.test or ()}
    return role


def duplicates(findings: Sequence[Finding], role: Mapping[str, str]) -> list[Problem]:
    """Cases whose decoded images are equal. Across lists that is a leak, within one a waste."""
    same: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        if finding.digest is not None:
            same[finding.digest].append(finding.case.id)
    problems = []
    for cases in same.values():
        if len(cases) < 2:
            continue
        lists = {role.get(case, "unlabeled") for case in cases}
        listed = ", ".join(f"{case} ({role.get(case, 'unlabeled')})" for case in cases)
        problems.append(
            Problem(
                "DUPLICATE_CONTENT",
                f"the same voxels in {listed}",
                "every scan once",
                "remove all but one; keep it in test if it is there",
                case=cases[0],
                severity="error" if len(lists) > 1 else "warning",
            )
        )
    return problems


def twins(findings: Sequence[Finding], role: Mapping[str, str]) -> list[Problem]:
    """Cases whose masks are equal after cropping though their images are not: one acquisition twice.

    With few labels such a pair puts a labeled scan among the unlabeled ones, or a training scan into the test
    list. Only labels of labeled cases are compared: no other case has one.
    """
    same: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.mask is not None:
            same[finding.mask].append(finding)
    problems = []
    for pair in same.values():
        if len({finding.digest for finding in pair}) < 2:  # equal images are told of already
            continue
        lists = {role.get(finding.case.id, "unlabeled") for finding in pair}
        listed = ", ".join(f"{f.case.id} ({role.get(f.case.id, 'unlabeled')})" for f in pair)
        problems.append(
            Problem(
                "DUPLICATE_MASK",
                f"the same mask, to the voxel, in {listed}",
                "every acquisition once",
                "look at both scans; if they show one acquisition, keep one of them",
                case=pair[0].case.id,
                severity="error" if "test" in lists and len(lists) > 1 else "warning",
            )
        )
    return problems


def mixed_dimensions(findings: Sequence[Finding]) -> list[Problem]:
    """2D and 3D images in one dataset."""
    by: dict[int, list[str]] = defaultdict(list)
    for finding in findings:
        if finding.dim:
            by[finding.dim].append(finding.case.id)
    if len(by) < 2:
        return []
    few = min(by, key=lambda dim: len(by[dim]))
    some = ", ".join(by[few][:5])
    counts = " and ".join(f"{len(cases)} {dim}D cases" for dim, cases in sorted(by.items()))
    fix = f"take out the {few}D cases ({some})"
    return [Problem("MIXED_DIMENSIONS", counts, "all 2D or all 3D", fix, case=by[few][0])]


def too_few(found: Scan) -> list[Problem]:
    """Nothing to learn from, or nothing that semi-supervised training adds."""
    labeled, problems = len(found.annotated), []
    if labeled == 0:
        fix = "put the label of at least one training case into labelsTr as CASE plus the file ending"
        problems.append(Problem("NO_LABELED", "no case with a label", "at least one", fix))
    if labeled == 1:
        fix = "label a second case, so that one can be kept for validation"
        got = "one labeled case only"
        case = found.annotated[0].id
        problems.append(Problem("ONE_LABELED", got, "two or more", fix, case, severity="warning"))
    if not found.unannotated:
        fix = "put scans without labels into imagesUn"
        if labeled > 1:
            fix += f", or use fewer labels with `semiseg train --labeled K` (K below {labeled})"
        got = "no case without a label"
        problems.append(
            Problem("NO_UNLABELED", got, "unlabeled scans to learn from", fix, severity="warning")
        )
    return problems
