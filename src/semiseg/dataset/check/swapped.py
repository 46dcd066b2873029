"""Labels that lie on each other's scan: two or more cases of one size whose label files were exchanged.

A label that was drawn on a scan follows its edges; the label of another patient does not. How well each of
two labels fits each of two scans says which belongs to which, without a model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.case import LabeledCase
from semiseg.dataset.problem import Finding, Problem
from semiseg.errors import some
from semiseg.images import read, read_header, read_label
from semiseg.images.grid import Volume, turned

NEAR = 3
"""Voxels around a label that it is compared with."""
MOST_VOXELS = 1 << 21
"""Of a larger label a slab through its middle is looked at."""
FEWEST = 100
"""Labels with fewer voxels say nothing."""
LOOKED_AT = 12
"""Cases of one size whose labels are tried on each other's scans: those that fit their own scans worst."""
BETTER = 0.05
"""How much better exchanged labels must fit on average, each of them better at all; small ones by more, for
their fit is a matter of chance. Measured with ``benchmarks/swapped.py``.
"""
FOLLOWS = 0.25
"""The usual fit of labels that follow edges; where others do not, nothing can be told."""

Voxels = NDArray[Any]


def fit(image: Voxels, label: Voxels) -> float:
    """How well a label follows the edges of a scan, and tells its gray values apart.

    The logarithm of the ratio between the mean steps of gray values across and beside the label's border,
    plus the share of their variance that the classes explain (the correlation ratio), both near the label.

    Args:
        image: (*S).
        label: (*S), class numbers.

    Returns:
        about 0 for a label of somewhere else, 0.3 to 1.5 for one of this scan; NaN where it says nothing.
    """
    if image.shape != label.shape or np.count_nonzero(label) < FEWEST:
        return float("nan")
    box = _box(label)
    classes, values = label[box], image[box].astype(np.float32)
    if not np.isfinite(values).all():
        return float("nan")
    near = _grown(classes != 0)
    across, beside = np.zeros(2), np.zeros(2)  # sum and count of steps
    for axis in range(classes.ndim):
        low, high = _slices(axis, classes.ndim)
        steps = np.abs(values[high] - values[low])
        border = classes[high] != classes[low]
        around = near[high] & near[low] & ~border
        across += steps[border].sum(dtype=np.float64), np.count_nonzero(border)
        beside += steps[around].sum(dtype=np.float64), np.count_nonzero(around)
    if not across.all() or not beside.all():
        return float("nan")
    return float(np.log(across[0] / across[1] * beside[1] / beside[0])) + _explained(
        values[near], classes[near]
    )


def _explained(values: Voxels, classes: Voxels) -> float:
    """The correlation ratio: variance between classes over variance of all."""
    _, number = np.unique(classes, return_inverse=True)
    values = values.astype(np.float64)
    values -= values.mean()
    sums, counts = np.bincount(number, values), np.bincount(number)
    total = float((values**2).sum())
    return float((sums**2 / counts).sum()) / total if total else 0.0


def _box(label: Voxels) -> tuple[slice, ...]:
    """Around the label; of a large one a slab across its longest axis."""
    box = []
    for axis, size in enumerate(label.shape):
        others = tuple(other for other in range(label.ndim) if other != axis)
        found = np.flatnonzero((label != 0).any(axis=others))
        box.append(slice(max(int(found[0]) - NEAR, 0), min(int(found[-1]) + 1 + NEAR, size)))
    lengths = [part.stop - part.start for part in box]
    if (voxels := int(np.prod(lengths))) > MOST_VOXELS:
        axis = int(np.argmax(lengths))
        keep = max(1, lengths[axis] * MOST_VOXELS // voxels)
        start = box[axis].start + (lengths[axis] - keep) // 2
        box[axis] = slice(start, start + keep)
    return tuple(box)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and all voxels within :data:`NEAR` steps of it."""
    from scipy import ndimage

    grown: NDArray[np.bool_] = ndimage.binary_dilation(mask, iterations=NEAR)
    return grown


def _slices(axis: int, axes: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """All voxels but the last along an axis, and all but the first."""
    return (
        tuple(slice(0, -1) if a == axis else slice(None) for a in range(axes)),
        tuple(slice(1, None) if a == axis else slice(None) for a in range(axes)),
    )


def gray(volume: Volume) -> Voxels:
    """The voxels (*S), of colors the mean."""
    array = volume.array
    return array if array.ndim == len(volume.grid.shape) else array.mean(axis=-1, dtype=np.float32)


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

    labels = [_label(finding) for finding in findings]
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


def _label(finding: Finding) -> Voxels:
    """The label as it lies on its scan."""
    case = cast(LabeledCase, finding.case)
    volume = read_label(case.label)
    seen = turned(volume.array, volume.grid, read_header(case.images[0]).grid)
    return volume.array if seen is None else seen
