"""How far a prediction doubts itself, in a few numbers per scan, taken from the slabs as they pass by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semiseg.inference.accumulate import Slab
from semiseg.inference.predictor import entropy
from semiseg.preparation.plan import Plan

SCORES = ("entropy", "inside", "soft_dice")
"""The candidates, each larger where the prediction is worse: the entropy summed over the scan and divided by
the predicted volume; the mean entropy within the prediction; 1 - Soft Dice Confidence."""


class Doubt:
    """Takes the slabs of a scan in any order and sums up what they say.

    Args:
        plan: what the channels mean.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._names = list(plan.structures)
        self._entropy = self._inside = self._volume = 0.0
        self._sums: Tensor | None = None

    def add(self, slab: Slab) -> None:
        """Take (K, rows, T1, T2) probabilities on the networks' grid."""
        scores = slab.probabilities
        regions = bool(self._plan.regions)
        found = entropy(scores, regions=regions)
        if regions:
            chosen, shares = scores > 0.5, scores
            foreground = chosen.any(0)
        else:
            winner = scores.argmax(0)
            foreground = winner > 0
            shares = scores[1:]
            kinds = torch.arange(1, len(scores), device=scores.device).reshape(-1, 1, 1, 1)
            chosen = winner[None] == kinds
        self._entropy += float(found.sum(dtype=torch.float64))
        self._inside += float(found[foreground].sum(dtype=torch.float64))
        self._volume += float(foreground.sum())
        axes = (1, 2, 3)
        parts = (
            shares.sum(axes),
            (shares * chosen).sum(axes),
            chosen.sum(axes).to(shares.dtype),
            (found * chosen).sum(axes),
        )
        sums = torch.stack(parts).double().cpu()
        self._sums = sums if self._sums is None else self._sums + sums

    def result(self) -> dict[str, Any]:
        """``score`` (the entropy one), all of :data:`SCORES`; per class or region ``confidence`` and
        ``class_entropy``, its mean over the voxels predicted as that class (None where there are none).

        Soft Dice Confidence is 2 sum(p y) / (sum p + sum y), where y is the prediction (Borges et al. 2024,
        arXiv 2402.10665), here the mean over the classes that were predicted.
        """
        if self._sums is None:
            return {}
        volume = max(self._volume, 1.0)
        share, both, hard, own = self._sums
        soft = (2 * both / (share + hard).clamp_min(1e-12)).tolist()
        there = [value for value, count in zip(soft, hard.tolist(), strict=True) if count > 0]
        score = self._entropy / volume
        return {
            "score": _short(score),
            "entropy": _short(score),
            "inside": _short(self._inside / volume if self._volume else 1.0),
            "soft_dice": _short(1 - sum(there) / len(there) if there else 1.0),
            "confidence": dict(zip(self._names, map(_short, soft), strict=True)),
            "class_entropy": {
                name: _short(total / count) if count else None
                for name, total, count in zip(self._names, own.tolist(), hard.tolist(), strict=True)
            },
        }


def _short(value: float) -> float:
    return float(f"{value:.6g}")
