"""Labels that all lie beside what they were drawn on, moved alike: a forgotten crop, another origin, slices
that are counted from one.

Where labels follow edges, gray values step across their borders most where they were drawn. One scan says
little, the mean of several does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.check.edges import FEWEST, Voxels, ends, gray, grown, label_box, label_on_scan
from semiseg.dataset.problem import Finding, Problem
from semiseg.images import read

FARTHEST = 16
"""Voxels along each axis that labels are moved by, at most."""
LOOKED_AT, FEWEST_CASES = 8, 3
BETTER, AT_MOST = 0.3, 0.5
"""How much better moved labels must fit in the mean, and what share of that fit they may have as they are.
Labels of the left atrium, which follow no clear edges, fit up to 0.17 better elsewhere (benchmarks/moved.py).
"""
IN_MOST = 0.8
"""In this share of the cases they must fit better."""

Fits = NDArray[np.float64]


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


def moved_problems(findings: Sequence[Finding]) -> list[Problem]:
    """One problem where the labels of a dataset fit better when all are moved by the same voxels."""
    known = _distinct(
        [
            finding
            for finding in findings
            if finding.fit is not None
            and finding.fit == finding.fit
            and all(problem.severity != "error" for problem in finding.problems)
        ]
    )
    places = np.linspace(0, len(known) - 1, min(LOOKED_AT, len(known))).astype(int)
    chosen = [known[place] for place in places]
    if len(chosen) < FEWEST_CASES or len({len(finding.shape) for finding in chosen}) > 1:
        return []
    each = [moved_fits(gray(read(f.case.images[0])), label_on_scan(f)) for f in chosen]
    by, gain = best_move([fits for fits in each if fits is not None])
    if not gain:
        return []
    shown = ", ".join(f"{-step:+d}" for step in by)
    return [
        Problem(
            "MOVED_LABELS",
            f"labels that lie {shown} voxels along the array axes beside the edges of their scans "
            f"(moved back they fit {gain:.2f} better in the mean of {len(chosen)} cases)",
            "labels that lie on what they were drawn on",
            "look at one of them over its scan; if it is so, move the arrays of all labels back",
            severity="warning",
        )
    ]


def _distinct(findings: Sequence[Finding]) -> list[Finding]:
    """Those that are no copies, of a scan or of a label: copies say the same once more."""
    scans: set[str | None] = set()
    masks: set[str | None] = set()
    kept = []
    for finding in findings:
        if finding.digest not in scans and (finding.mask is None or finding.mask not in masks):
            kept.append(finding)
        scans.add(finding.digest)
        masks.add(finding.mask)
    return kept


def best_move(each: Sequence[Fits]) -> tuple[tuple[int, ...], float]:
    """By how many voxels all labels should be moved, and how much better they would fit; 0: as they are.

    Args:
        each: what :func:`moved_fits` says of each case.
    """
    if len(each) < FEWEST_CASES:
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
    return best - own >= BETTER and own <= AT_MOST * best
