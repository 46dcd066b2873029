"""How far a prediction doubts itself, in a few numbers per scan, taken from the slabs as they pass by."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from semiseg.inference.accumulate import Slab
from semiseg.inference.predictor import entropy
from semiseg.preparation.plan import Plan

SCORES = ("entropy", "inside", "soft_dice")
"""The candidates, each larger where the prediction is worse: the entropy summed over the scan and divided by
the predicted volume; the mean entropy within the prediction; 1 - Soft Dice Confidence."""


SCORE = "soft_dice"
"""The one that scans are shown with and calibrated by: ``benchmarks/expected_dice.py`` compares them."""

VOXELS_AT_ONCE = 2**20
"""So that a large slab needs no copies of itself."""


class Doubt:
    """Takes the slabs of a scan in any order and sums up what they say.

    Args:
        plan: what the channels mean.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._names = list(plan.structures)
        self._entropy = self._inside = self._volume = 0.0
        self._sums: list[list[float]] = [[0.0] * 4 for _ in self._names]
        self._seen = False

    def add(self, slab: Slab) -> None:
        """Take (K, rows, T1, T2) probabilities on the networks' grid, a few rows at a time."""
        scores = slab.probabilities
        self._seen = True
        rows = max(1, VOXELS_AT_ONCE // (scores.shape[2] * scores.shape[3]))
        for start in range(0, scores.shape[1], rows):
            self._add(scores[:, start : start + rows])

    def _add(self, scores: Tensor) -> None:
        regions = bool(self._plan.regions)
        found = entropy(scores, regions=regions)
        winner = None if regions else scores.argmax(0)
        foreground = (scores > 0.5).any(0) if winner is None else winner > 0
        self._entropy += float(found.sum())
        self._inside += float(found[foreground].sum())
        self._volume += float(foreground.sum())
        for place, sums in enumerate(self._sums):
            share = scores[place if regions else place + 1]
            chosen = share > 0.5 if winner is None else winner == place + 1
            parts = (share, share[chosen], chosen, found[chosen])
            for i, values in enumerate(parts):
                sums[i] += float(values.sum())

    def result(self) -> dict[str, Any]:
        """``score`` (:data:`SCORE`), all of :data:`SCORES`; per class or region ``confidence`` and
        ``class_entropy``, its mean over the voxels predicted as that class (None where there are none).

        Soft Dice Confidence is 2 sum(p y) / (sum p + sum y), where y is the prediction (Borges et al. 2024,
        arXiv 2402.10665), here the mean over the classes that were predicted.
        """
        if not self._seen:
            return {}
        volume = max(self._volume, 1.0)
        soft = [2 * both / max(share + hard, 1e-12) for share, both, hard, _ in self._sums]
        there = [value for value, (_, _, hard, _) in zip(soft, self._sums, strict=True) if hard]
        scores = {
            "entropy": _short(self._entropy / volume),
            "inside": _short(self._inside / volume if self._volume else 1.0),
            "soft_dice": _short(1 - sum(there) / len(there) if there else 1.0),
        }
        return {
            "score": scores[SCORE],
            **scores,
            "confidence": dict(zip(self._names, map(_short, soft), strict=True)),
            "class_entropy": {
                name: _short(own / hard) if hard else None
                for name, (_, _, hard, own) in zip(self._names, self._sums, strict=True)
            },
        }


def _short(value: float) -> float:
    return float(f"{value:.6g}")
