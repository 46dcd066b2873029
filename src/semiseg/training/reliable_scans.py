"""Which predicted scans and voxels a stage learns from, and the record of the choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.core import IGNORE, PseudoLabels, Stage
from semiseg.machine.files import atomic_file, json_object, write_json
from semiseg.methods.parts import reliability
from semiseg.preparation.prepare import Prepared
from semiseg.preparation.resident import packed
from semiseg.preparation.store import StoredLabeledCase

Tell = Callable[[str], None]
"""A line for the user."""

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
    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Case -> (K, 256), see :func:`semiseg.methods.parts.reliability.histogram`."""
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
    prepared: Prepared,
    found: Predicted,
    wanted: PseudoLabels,
    labeled: Mapping[str, NDArray[np.int64]],
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
            case: reliability.round_change(*(np.load(p / f"{case}.label.npy") for p in found.rounds))
            for case in facts
        }
    doubts = {case: reliability.doubt(counts) for case, counts in found.counts.items()}
    return ("none" if by == "none" else "mean_confidence"), doubts


def _far_from_usual(
    prepared: Prepared, counts: Mapping[str, NDArray[np.int64]], labeled: Mapping[str, NDArray[np.int64]]
) -> dict[str, float]:
    """The volume prior of each scan, in mm3: the voxels of a 2D plan differ from scan to scan."""
    mm3 = {case.id: math.prod(case.geometry.spacing) for case in (*prepared.labeled, *prepared.unlabeled)}
    usual = np.array([voxels * mm3[case] for case, voxels in labeled.items()])
    return {case: reliability.volume_prior(found.sum(1) * mm3[case], usual) for case, found in counts.items()}


def _labeled_voxels(prepared: Prepared) -> dict[str, NDArray[np.int64]]:
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
        return reliability.least_certain(values, 100 * (1 - keep))
    return reliability.most_reliable(values, keep)


def _volumes(
    names: Sequence[str],
    counts: list[NDArray[np.int64]],
    levels: list[int],
    labeled: list[NDArray[np.int64]],
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


def _levels(wanted: PseudoLabels, counts: NDArray[np.int64]) -> list[int]:
    if wanted.voxels == "quantile":
        return reliability.thresholds(counts, wanted.quantile, wanted.threshold)
    return [reliability.stored(wanted.threshold) if wanted.voxels == "fixed" else 0] * len(counts)


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
