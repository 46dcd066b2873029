"""Labels that lie on each other's scan: two or more cases of one size whose label files were exchanged.

A label that was drawn on a scan follows its edges; the label of another patient does not. How well each of
two labels fits each of two scans says which belongs to which, without a model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from semiseg.dataset.check.edges import Voxels, fit, gray, label_on_scan
from semiseg.dataset.problem import Finding, Problem
from semiseg.errors import some
from semiseg.images import read

LOOKED_AT = 12
"""Cases of one size whose labels are tried on each other's scans: those that fit their own scans worst."""
BETTER = 0.05
"""How much better exchanged labels must fit on average, each of them better at all; small ones by more, for
their fit is a matter of chance. Measured with ``benchmarks/swapped.py``.
"""
FOLLOWS = 0.25
"""The usual fit of labels that follow edges; where others do not, nothing can be told."""


def swapped_problems(findings: Sequence[Finding]) -> list[Problem]:
    """Cases of one size whose labels fit better when they are exchanged, in pairs or in a circle."""
    groups: dict[tuple[int, ...], list[Finding]] = defaultdict(list)
    for finding in findings:
        errors = any(problem.severity == "error" for problem in finding.problems)
        if finding.fit is not None and finding.fit == finding.fit and not errors:
            groups[finding.shape].append(finding)
    known = [finding for group in groups.values() for finding in group]
    problems = []
    for group in groups.values():
        worst = sorted(group, key=lambda finding: finding.fit or 0.0)[:LOOKED_AT]
        if len(worst) > 1:
            problems += _exchanged(sorted(worst, key=lambda finding: finding.case.id), known)
    return problems


def _exchanged(findings: Sequence[Finding], known: Sequence[Finding]) -> list[Problem]:
    from scipy.optimize import linear_sum_assignment

    labels = [label_on_scan(finding) for finding in findings]
    images = (gray(read(finding.case.images[0])) for finding in findings)
    fits = np.nan_to_num(np.array([[fit(image, label) for label in labels] for image in images]), nan=-9.0)
    _, best = linear_sum_assignment(fits, maximize=True)
    problems = []
    for circle in _circles(best.tolist()):
        own, other = fits.diagonal()[circle], fits[circle, best[circle]]
        suspects = [findings[number] for number in circle]
        if len(circle) > 1 and is_better(own, other, min(map(_voxels, suspects))):
            rest = [finding.fit or 0.0 for finding in known if finding not in suspects]
            if (np.median(rest) if len(rest) > 2 else other.min()) > FOLLOWS:
                problems.append(_problem(suspects, own, other))
    return problems


def is_better(own: Voxels, other: Voxels, voxels: float) -> bool:
    """Whether labels, the smallest of so many voxels, fit better where ``other`` says how well."""
    gain = other - own
    return bool(gain.min() > 0 and gain.mean() > BETTER + 3 / np.sqrt(voxels))


def _voxels(finding: Finding) -> int:
    return max(1, sum(count for value, count in (finding.values or {}).items() if value))


def _circles(best: Sequence[int]) -> list[list[int]]:
    """The cycles of a permutation."""
    circles, left = [], set(range(len(best)))
    while left:
        circle, number = [], min(left)
        while number in left:
            left.remove(number)
            circle.append(number)
            number = int(best[number])
        circles.append(circle)
    return circles


def _problem(findings: Sequence[Finding], own: Voxels, other: Voxels) -> Problem:
    names = [finding.case.id for finding in findings]
    takes = " and ".join(
        f"{name} that of {of}" for name, of in zip(names, [*names[1:], names[0]], strict=True)
    )
    as_is, exchanged = (", ".join(f"{value:.2f}" for value in values) for values in (own, other))
    return Problem(
        "SWAPPED_LABELS",
        f"labels of {some(names)} that follow the edges of each other's scans and not of their own "
        f"(fit {as_is} as they are, {exchanged} exchanged)",
        "each label on its own scan",
        f"look at one of them over its scan; if they were exchanged, {takes}",
        case=names[0],
        severity="warning",
    )
