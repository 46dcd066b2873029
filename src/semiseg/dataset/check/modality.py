"""Scans of another modality than their channel is named after, and labels of CT that fit better flipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.problem import Finding, Problem
from semiseg.errors import plural, some

AIR = -500
"""CT has air around and inside of the body, at -1000; no MRI goes this low."""
MR = frozenset(["mr", "mri", "t1", "t1c", "t1w", "t2", "t2w", "flair", "pd", "dwi", "adc", "swi"])
"""Names of channels that hold magnetic resonance."""

FLIPS = ((), (1,), (2,), (1, 2))
"""Array axes along which a label may have been flipped; not the first, for left and right look alike."""
SOFT_TISSUE = (0.0, 150.0)
"""HU between which the mean of an organ lies."""
BETTER = 0.8
"""A flip is believed where its SD inside the mask is at most this part of the others'."""
CLEARLY = 0.6
"""A single case is told of where its SD falls to this part."""
FEWEST = 100
"""Voxels of a mask that say something of a flip."""


def lowest(array: NDArray[Any]) -> float:
    """The lowest finite value; NaN where there is none."""
    known = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    return float(known.min()) if known.size else float("nan")


def best_flip(image: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[tuple[int, ...], float]:
    """The flip of a CT's mask under which the gray values inside vary least, and how much better it is.

    Args:
        image: (*S) in HU.
        mask: (*S).

    Returns:
        array axes, none where no flip is clearly better; and the SD with it over the SD as the mask is.
    """
    if image.shape != mask.shape or image.ndim != 3 or np.count_nonzero(mask) < FEWEST:
        return (), 1.0
    spread: dict[tuple[int, ...], float] = {}
    for flip in FLIPS:
        inside = image[np.flip(mask, flip)].astype(np.float64)
        if not flip or SOFT_TISSUE[0] <= inside.mean() <= SOFT_TISSUE[1]:
            spread[flip] = float(inside.std())
    found = min(spread, key=lambda flip: spread[flip])
    others = min((sd for flip, sd in spread.items() if flip != found), default=0.0)
    if not found or spread[found] > BETTER * others:
        return (), 1.0
    return found, spread[found] / spread[()]


def modality_problems(findings: Sequence[Finding], channels: Sequence[str]) -> list[Problem]:
    """Channels named after CT without air, or after MR with it; all of their scans, or some."""
    problems = []
    for number, name in enumerate(channels):
        known = [f for f in findings if len(f.lowest) > number and f.lowest[number] == f.lowest[number]]
        air = [f for f in known if f.lowest[number] <= AIR]
        if name.strip().casefold() == "ct":
            wrong, what = [f for f in known if f not in air], f"no value below {AIR}, as air has in CT"
        elif name.strip().casefold() in MR:
            wrong, what = air, f"values below {AIR}, as air has in CT"
        else:
            continue
        if not wrong:
            continue
        values = sorted(f.lowest[number] for f in wrong)
        whole = len(wrong) == len(known)
        which = "all scans" if whole else f"{len(wrong)} of {plural(len(known), 'scan')} ({_named(wrong)})"
        fix = (
            "rename the channel in dataset.json: its name chooses the normalization. Windowed CT is fine"
            if whole
            else "scans of two modalities need a dataset each, or a channel each"
        )
        problems.append(
            Problem(
                "MIXED_MODALITY",
                f"{what}, in {which} of channel {name} (lowest {values[0]:g} to {values[-1]:g})",
                "one modality, the one that the channel is named after",
                fix,
                case="" if whole else wrong[0].case.id,
                severity="warning",
            )
        )
    return problems


def flip_problems(findings: Sequence[Finding]) -> list[Problem]:
    """Labels that fit their CT scans better when flipped: most of them alike, or a few that stand out."""
    judged = [finding for finding in findings if finding.flip is not None]
    votes = Counter(finding.flip[0] for finding in judged if finding.flip)
    problems = []
    for flip, count in votes.items():
        if not flip:
            continue
        cases = [f for f in judged if f.flip and f.flip[0] == flip]
        most = count > 1 and 2 * count > len(judged)
        cases = cases if most else [f for f in cases if f.flip and f.flip[1] <= CLEARLY]
        if cases:
            axes = " and ".join("xyz"[axis] for axis in flip)
            problems.append(
                Problem(
                    "FLIPPED_LABEL",
                    f"labels of {len(cases)} of {plural(len(judged), 'CT scan')} ({_named(cases)}) whose "
                    f"gray values vary less inside of the label where it is flipped along array axis {axes}",
                    "labels that lie on their organ",
                    "look at one of them over its scan; if it lies beside the organ, flip the label's array",
                    case="" if most else cases[0].case.id,
                    severity="warning",
                )
            )
    return problems


def _named(findings: Sequence[Finding]) -> str:
    return some([finding.case.id for finding in findings])
