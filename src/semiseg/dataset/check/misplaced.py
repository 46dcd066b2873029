"""Labels that lie elsewhere than on what they were drawn on: exchanged between scans, or all moved alike.

Gray values step across the border of a label most where it was drawn. So how well each of several labels fits
each of their scans says which belongs to which; and where all labels fit better a few voxels further on, they
were moved: by a forgotten crop, another origin, slices counted from one. No model is needed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.check.edges import FEWEST, Voxels, ends, fit, gray, grown, label_box, label_on_scan
from semiseg.dataset.problem import Finding, Problem
from semiseg.errors import plural, some
from semiseg.images import read

MOST_TRIED = 12
"""Cases of one size whose labels are tried on each other's scans: those that fit their own scans worst."""
BETTER_EXCHANGED = 0.05
"""How much better exchanged labels must fit on average, each of them better at all; small ones by more, for
their fit is a matter of chance. Measured with ``benchmarks/swapped.py``.
"""
FOLLOWS = 0.25
"""The usual fit of labels that follow edges; where others do not, nothing can be told."""

FARTHEST = 16
"""Voxels along each axis that labels are moved by, at most."""
MOST_MOVED, FEWEST_MOVED = 8, 3
"""Cases whose labels are moved to look for a better place: one scan says little, the mean of several does."""
BETTER_MOVED, AT_MOST = 0.3, 0.5
"""How much better moved labels must fit in the mean, and what share of that fit they may have as they are.
Labels of the left atrium, which follow no clear edges, fit up to 0.17 better elsewhere (benchmarks/moved.py).
"""
IN_MOST = 0.8
"""In this share of the cases they must fit better."""

Fits = NDArray[np.float64]


def misplaced_problems(findings: Sequence[Finding]) -> list[Problem]:
    """Labels that fit better when they are exchanged or moved; each scan is read once for both."""
    known = [
        finding
        for finding in findings
        if finding.fit is not None
        and not math.isnan(finding.fit)
        and all(problem.severity != "error" for problem in finding.problems)
    ]
    moved, groups = _to_move(known), _to_exchange(known)
    alone = [finding for finding in moved if not any(finding in group for group in groups)]
    problems, places = [], []
    for group in [*groups, *([finding] for finding in alone)]:
        labels = [label_on_scan(finding) for finding in group]
        fits = np.full((len(group), len(group)), np.nan)
        for number, finding in enumerate(group):
            image = gray(read(finding.case.images[0]))
            if len(group) > 1:
                fits[number] = [fit(image, label) for label in labels]
            if finding in moved:
                places.append(moved_fits(image, labels[number]))
        problems += _exchanged(group, np.nan_to_num(fits, nan=-9.0), known)
    return problems + _moved([found for found in places if found is not None])


def _to_exchange(known: Sequence[Finding]) -> list[list[Finding]]:
    """Of each size the cases whose labels fit worst, where there are two or more."""
    sizes: dict[tuple[int, ...], list[Finding]] = defaultdict(list)
    for finding in known:
        sizes[finding.shape].append(finding)
    worst = [sorted(alike, key=lambda f: f.fit or 0.0)[:MOST_TRIED] for alike in sizes.values()]
    return [sorted(group, key=lambda f: f.case.id) for group in worst if len(group) > 1]


def _exchanged(findings: Sequence[Finding], fits: Fits, known: Sequence[Finding]) -> list[Problem]:
    """Cases whose labels fit better when they are exchanged, in pairs or in a circle.

    Args:
        findings: N cases of one size.
        fits: (N, N), how well each label (column) fits each scan (row).
        known: all cases whose labels say something.
    """
    from scipy.optimize import linear_sum_assignment

    _, best = linear_sum_assignment(fits, maximize=True)
    problems = []
    for circle in _circles(best.tolist()):
        own, other = fits.diagonal()[circle], fits[circle, best[circle]]
        suspects = [findings[number] for number in circle]
        if len(circle) > 1 and is_better(own, other, min(map(_voxels, suspects))):
            rest = [finding.fit or 0.0 for finding in known if finding not in suspects]
            if (np.median(rest) if len(rest) > 2 else other.min()) > FOLLOWS:
                problems.append(_exchange_problem(suspects, own, other))
    return problems


def is_better(own: Voxels, other: Voxels, voxels: float) -> bool:
    """Whether labels, the smallest of so many voxels, fit better where ``other`` says how well."""
    gain = other - own
    return bool(gain.min() > 0 and gain.mean() > BETTER_EXCHANGED + 3 / np.sqrt(voxels))


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
            number = best[number]
        circles.append(circle)
    return circles


def _exchange_problem(findings: Sequence[Finding], own: Voxels, other: Voxels) -> Problem:
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


def _to_move(known: Sequence[Finding]) -> list[Finding]:
    """Cases whose labels are moved, evenly spread over all but copies, which say the same once more."""
    scans: set[str | None] = set()
    masks: set[str | None] = set()
    distinct = []
    for finding in known:
        if finding.digest not in scans and (finding.mask is None or finding.mask not in masks):
            distinct.append(finding)
        scans.add(finding.digest)
        masks.add(finding.mask)
    count = min(MOST_MOVED, len(distinct))
    chosen = [distinct[place] for place in np.linspace(0, len(distinct) - 1, count).astype(int)]
    return chosen if count >= FEWEST_MOVED and len({len(f.shape) for f in chosen}) == 1 else []


def moved_fits(image: Voxels, label: Voxels) -> Fits | None:
    """How well a label fits a scan at its own place and at each around it.

    Args:
        image: (*S).
        label: (*S), class numbers.

    Returns:
        (2 FARTHEST + 1,) * axes: the logarithm of the ratio between the mean steps of gray values across and
        beside the label's border when the label is moved by so many voxels; its own place is the middle; -inf
        where it would leave the scan. None where the label says nothing.
    """
    if image.shape != label.shape or np.count_nonzero(label) < FEWEST:
        return None
    box = label_box(label)
    classes, values = label[box], _around(image, box)
    near = grown(classes != 0)
    across, crossed, beside, passed = (np.zeros(1),) * 4  # steps at the border and their number; beside it
    for axis in range(classes.ndim):
        low, high = ends(axis, classes.ndim)
        steps = np.abs(values[high] - values[low])
        known = _spectrum(np.isfinite(steps), values.shape)
        height = _spectrum(np.nan_to_num(steps, posinf=0, neginf=0), values.shape)
        border = classes[high] != classes[low]
        at = _spectrum(border, values.shape).conj()
        around = _spectrum(near[high] & near[low] & ~border, values.shape).conj()
        across, crossed = across + height * at, crossed + known * at
        beside, passed = beside + height * around, passed + known * around
    sums = [_at_each_place(part, values.shape) for part in (across, crossed, beside, passed)]
    middle = (FARTHEST,) * classes.ndim
    with np.errstate(divide="ignore", invalid="ignore"):
        fits: Fits = np.log(sums[0] / sums[1] * sums[3] / sums[2])
    fits[~np.isfinite(fits) | (sums[1] < sums[1][middle] / 2)] = -np.inf
    return fits if np.isfinite(fits[middle]) else None


def _around(image: Voxels, box: tuple[slice, ...]) -> Voxels:
    """The box with FARTHEST voxels on each side, NaN beyond the scan."""
    wide = tuple(
        slice(max(part.start - FARTHEST, 0), min(part.stop + FARTHEST, size))
        for part, size in zip(box, image.shape, strict=True)
    )
    beyond = [
        (FARTHEST - part.start + inner.start, FARTHEST + part.stop - inner.stop)
        for part, inner in zip(box, wide, strict=True)
    ]
    return np.pad(image[wide].astype(np.float32), beyond, constant_values=np.nan)


def _spectrum(part: Voxels, shape: Sequence[int]) -> NDArray[Any]:
    from scipy import fft

    return np.asarray(fft.rfftn(part.astype(np.float32), [fft.next_fast_len(n, real=True) for n in shape]))


def _at_each_place(spectrum: NDArray[Any], shape: Sequence[int]) -> Fits:
    """The sums under a mask at each place of it."""
    from scipy import fft

    whole = fft.irfftn(spectrum, [fft.next_fast_len(n, real=True) for n in shape])
    return np.maximum(whole[(slice(2 * FARTHEST + 1),) * len(shape)], 0).astype(np.float64)


def _moved(each: Sequence[Fits]) -> list[Problem]:
    """One problem where the labels fit better when all are moved by the same voxels."""
    by, gain = best_move(each)
    if not gain:
        return []
    shown = ", ".join(f"{-step:+d}" for step in by)
    return [
        Problem(
            "MOVED_LABELS",
            f"labels that lie {shown} voxels along the array axes beside the edges of their scans "
            f"(moved back they fit {gain:.2f} better in the mean of {plural(len(each), 'case')})",
            "labels that lie on what they were drawn on",
            "look at one of them over its scan; if it is so, move the arrays of all labels back",
            severity="warning",
        )
    ]


def best_move(each: Sequence[Fits]) -> tuple[tuple[int, ...], float]:
    """By how many voxels all labels should be moved, and how much better they would fit; 0: as they are.

    Args:
        each: what :func:`moved_fits` says of each case.
    """
    if len(each) < FEWEST_MOVED:
        return (), 0.0
    mean = np.mean(each, axis=0)
    place = np.unravel_index(int(mean.argmax()), mean.shape)
    middle = (FARTHEST,) * mean.ndim
    better = np.mean([fits[place] > fits[middle] for fits in each])
    if not is_elsewhere(mean[middle], mean[place]) or better < IN_MOST:
        return (), 0.0
    return tuple(int(step) - FARTHEST for step in place), float(mean[place] - mean[middle])


def is_elsewhere(own: float, best: float) -> bool:
    """Whether labels with this mean fit lie beside the place where they would have the best one."""
    return best - own >= BETTER_MOVED and own <= AT_MOST * best
