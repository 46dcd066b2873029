"""Which predicted scans and voxels a stage learns from: values, thresholds, the choice and its record.

Lower values are more reliable, unless a function says otherwise. Confidences are stored as bytes, 255 for 1,
and counted in histograms, so that nothing has to be read twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semiseg.core import IGNORE, PseudoLabels, Stage
from semiseg.machine.files import atomic_file, json_object, write_json
from semiseg.preparation.prepare import Prepared
from semiseg.preparation.resident import packed
from semiseg.preparation.store import StoredLabeledCase

Labels = NDArray[Any]
Counts = NDArray[np.int64]
Tell = Callable[[str], None]
"""A line for the user."""

LEVELS = 256
"""Values of a stored confidence."""
RARE = 0.5
"""A class of which less than this share of its labeled volume is kept is told."""


@dataclass(frozen=True)
class Predicted:
    """What is known of the predicted scans of a stage."""

    stage: Stage
    rounds: Sequence[Path]
    facts: Mapping[str, Mapping[str, Any]]

    @property
    def place(self) -> Path:
        """The folder of this stage."""
        return self.rounds[-1]

    @property
    def counts(self) -> dict[str, Counts]:
        """Case -> (K, 256), see :func:`histogram`."""
        return {case: np.asarray(told["counts"], np.int64) for case, told in self.facts.items()}


def choose(
    prepared: Prepared, stages: Sequence[Stage], stage: Stage, network: str, folder: Path, tell: Tell
) -> None:
    """Write what is learned from, and why: ``CASE.taught.npy`` of the kept scans, and ``STAGE.json``."""
    wanted = stage.pseudo or PseudoLabels()
    until = stages.index(stage) + 1
    rounds = [place_of(folder, s) for s in stages[:until] if s.pseudo is not None][-3:]
    cases = [case.id for case in prepared.unlabeled]
    found = Predicted(stage, rounds, {case: json_object(rounds[-1] / f"{case}.json") for case in cases})
    counts, labeled = found.counts, _labeled_voxels(prepared)
    by, values = _values(prepared, found, wanted, labeled)
    kept = [cases[i] for i in _kept(by, list(values.values()), wanted.keep)]
    levels = _levels(wanted, np.sum([*counts.values()], axis=0))
    for case in kept:
        labels, confidence = (np.load(found.place / f"{case}.{kind}.npy") for kind in ("label", "confidence"))
        labels[confidence < np.asarray(levels, np.uint8)[labels]] = IGNORE
        taught = packed(labels, confidence) if wanted.confidence else labels
        write_array(found.place / f"{case}.taught.npy", taught)
    names = list(prepared.plan.labels)
    volumes = _volumes(names, [counts[case] for case in kept], levels, list(labeled.values()))
    content = {
        "network": network,
        "scans_by": by,
        "voxels_by": wanted.voxels,
        "thresholds": {name: round(level / 255, 4) for name, level in zip(names, levels, strict=True)},
        "values": {case: finite(value) for case, value in values.items()},
        "kept": kept,
        "dropped": [case for case in cases if case not in set(kept)],
        "classes": volumes,
    }
    write_json(found.place.with_suffix(".json"), content)
    for name, voxels in [*volumes.items()][1:]:
        if voxels["kept"] < RARE * voxels["labeled"]:
            share = voxels["kept"] / voxels["labeled"]
            tell(f"{stage.name}: of {name} {share:.0%} of the labeled volume is kept per scan")


def _values(
    prepared: Prepared, found: Predicted, wanted: PseudoLabels, labeled: Mapping[str, Counts]
) -> tuple[str, dict[str, float]]:
    """What the scans are chosen by, and its value for each.

    In a first round nothing can have changed, and one network alone does not disagree.
    """
    by, facts = wanted.scans, found.facts
    if by in ("entropy", "entropy_sum"):
        return by, {case: _number(told[by]) for case, told in facts.items()}
    if by == "fold_disagreement" and len(found.stage.teachers) > 1:
        return by, {case: _number(told["disagreement"]) for case, told in facts.items()}
    if by == "volume_prior":
        return by, _far_from_usual(prepared, found.counts, labeled)
    if by == "round_change" and len(found.rounds) > 1:
        return by, {
            case: round_change(*(np.load(p / f"{case}.label.npy") for p in found.rounds)) for case in facts
        }
    doubts = {case: doubt(counts) for case, counts in found.counts.items()}
    return ("none" if by == "none" else "mean_confidence"), doubts


def _far_from_usual(
    prepared: Prepared, counts: Mapping[str, Counts], labeled: Mapping[str, Counts]
) -> dict[str, float]:
    """The volume prior of each scan, in mm3: the voxels of a 2D plan differ from scan to scan."""
    mm3 = {case.id: math.prod(case.geometry.spacing) for case in (*prepared.labeled, *prepared.unlabeled)}
    usual = np.array([voxels * mm3[case] for case, voxels in labeled.items()])
    return {case: volume_prior(found.sum(1) * mm3[case], usual) for case, found in counts.items()}


def _labeled_voxels(prepared: Prepared) -> dict[str, Counts]:
    """Labeled case -> (K,) voxels of each class."""
    classes = len(prepared.plan.labels)
    return {
        case.id: np.bincount(np.ravel(case.label), minlength=256)[:classes]
        for case in prepared.labeled
        if isinstance(case, StoredLabeledCase)
    }


def _kept(by: str, values: list[float], keep: float) -> list[int]:
    if by == "none":
        return list(range(len(values)))
    if by == "entropy_sum":
        return least_certain(values, 100 * (1 - keep))
    return most_reliable(values, keep)


def _volumes(
    names: Sequence[str], counts: list[Counts], levels: list[int], labeled: list[Counts]
) -> dict[str, dict[str, float]]:
    """Per class: predicted and kept voxels of a scan, and those of a labeled one."""
    whole, usual = np.mean(counts, axis=0), np.mean(labeled, axis=0)
    return {
        name: {
            "predicted": round(float(whole[k].sum()), 1),
            "kept": round(float(whole[k, levels[k] :].sum()), 1),
            "labeled": round(float(usual[k]), 1),
        }
        for k, name in enumerate(names)
    }


def _levels(wanted: PseudoLabels, counts: Counts) -> list[int]:
    if wanted.voxels == "quantile":
        return thresholds(counts, wanted.quantile, wanted.threshold)
    return [stored(wanted.threshold) if wanted.voxels == "fixed" else 0] * len(counts)


def place_of(folder: Path, stage: Stage) -> Path:
    """Where a run keeps what was predicted before a stage."""
    return folder / "pseudo_labels" / stage.name


def finite(value: float) -> float | None:
    """None for infinity, which JSON lacks."""
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.inf if value is None else value


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Whole or not at all."""
    with atomic_file(path) as stream:
        np.save(stream, np.ascontiguousarray(array), allow_pickle=False)


def round_change(first: Labels, second: Labels, *later: Labels) -> float:
    """The share of foreground that changes from one round to the next, averaged over the steps.

    ``mean_i |y_i != y_(i+1)| / |y_(i+1) > 0|`` of classes (*S), infinite where a later round has no
    foreground (Huang et al. 2022, the winner of FLARE22, doi:10.1007/978-3-031-23911-3_16).
    """
    steps = []
    for before, after in pairwise((first, second, *later)):
        foreground = np.count_nonzero(after)
        steps.append(np.count_nonzero(before != after) / foreground if foreground else math.inf)
    return float(np.mean(steps))


def entropy_map(probabilities: Tensor) -> Tensor:
    """``-sum_c p_c ln(p_c + 1e-8)`` of (K, *S), or (B, K, *S) over the second axis: one of the axes less."""
    axis = 0 if probabilities.ndim == 4 else 1
    return -(probabilities * (probabilities + 1e-8).log()).sum(axis)


def histogram(labels: Labels, confidence: NDArray[np.uint8], classes: int) -> Counts:
    """(K, 256): voxels by predicted class and stored confidence."""
    both = labels.astype(np.int64) * LEVELS + confidence
    return np.bincount(both.reshape(-1), minlength=classes * LEVELS).reshape(classes, LEVELS)


def doubt(counts: Counts) -> float:
    """1 minus the mean confidence over the predicted foreground, of a :func:`histogram`; infinite without."""
    foreground = counts[1:].sum(0)
    voxels = foreground.sum()
    if not voxels:
        return math.inf
    return 1.0 - float(foreground @ np.arange(LEVELS)) / (int(voxels) * (LEVELS - 1))


def most_reliable(values: Sequence[float], keep: float, least: int = 4) -> list[int]:
    """Places of the ``keep`` share with the lowest values (of equals the first), at least ``least``,
    ascending.
    """
    count = max(round(keep * len(values)), min(len(values), least))
    order = np.argsort(np.asarray(values, float), kind="stable")
    return sorted(int(i) for i in order[:count])


def fold_disagreement(answers: Sequence[Labels]) -> float:
    """1 minus the mean Dice of foreground classes between every two of several label maps of a scan.

    Of a pair the classes that one of them has; infinite where none has any.
    """
    found = []
    for one, other in combinations(answers, 2):
        for k in np.union1d(one, other):
            if k:
                a, b = one == k, other == k
                found.append(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))
    return 1.0 - float(np.mean(found)) if found else math.inf


def volume_prior(volumes: NDArray[Any], labeled: NDArray[Any]) -> float:
    """How far the volume of any foreground class is from that of a usual labeled scan.

    ``max_c |ln(V_c / median V_c)|``, the median over the labeled scans that have the class: ln 2 where one is
    twice or half as large. Infinite where a class is missing that every labeled scan has; one that some of
    them lack may be missing.

    Args:
        volumes: (K,) of the predicted classes, in any unit.
        labeled: (N, K), of the labeled scans in the same unit.
    """
    worst = 0.0
    for volume, usual in zip(volumes[1:], labeled.T[1:], strict=True):
        if volume and usual.any():
            worst = max(worst, abs(math.log(float(volume) / float(np.median(usual[usual > 0])))))
        elif usual.all():
            return math.inf
    return worst


def least_certain(values: Sequence[float], percentile: float = 15.0) -> list[int]:
    """Places whose summed entropy is at or above a percentile: the most certain scans are left out as
    teaching nothing (nnFilterMatch, Yang 2025, arXiv:2509.19746). The opposite sense of the others.
    """
    return [int(i) for i in np.flatnonzero(np.asarray(values) >= np.percentile(values, percentile))]


def thresholds(counts: Counts, quantile: float, largest: float) -> list[int]:
    """For each class the stored confidence from which voxels stay.

    The highest that leaves out at most ``quantile`` of the voxels predicted as the class, and none above
    ``largest``: with one threshold for all, small structures would be wiped out.

    Args:
        counts: (K, 256) over all scans, see :func:`histogram`.
        quantile: in [0, 1].
        largest: confidence in [0, 1].
    """
    below = np.cumsum(counts, 1) - counts  # voxels with a lower confidence
    allowed = below <= quantile * counts.sum(1, keepdims=True)
    highest = LEVELS - 1 - np.argmax(allowed[:, ::-1], 1)
    return [min(int(level), stored(largest)) for level in highest]


def stored(confidence: float) -> int:
    """A confidence in [0, 1] as a byte."""
    return round(confidence * (LEVELS - 1))
