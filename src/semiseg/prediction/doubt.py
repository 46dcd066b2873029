"""How far a prediction doubts itself, in a few numbers per scan, and what Dice to expect of one with so much.

A robust line (Theil 1950, Sen 1968) leads from the logarithm of the score to Dice, by scans of which the true
Dice is known; the interval is that of the jackknife+ (Barber et al. 2021, arXiv 1905.02928). With n scans no
interval can promise more than n / (n + 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import Tensor

from semiseg.errors import plural
from semiseg.inference.accumulate import Slab
from semiseg.inference.predictor import entropy
from semiseg.machine.files import read_json, write_json
from semiseg.preparation.plan import Plan

SCORES = ("entropy", "inside", "soft_dice")
"""The candidates, each larger where the prediction is worse: the entropy summed over the scan and divided by
the predicted volume; the mean entropy within the prediction; 1 - Soft Dice Confidence."""

SCORE = "soft_dice"
"""The one that scans are shown with and calibrated by: ``benchmarks/expected_dice.py`` compares them."""

VOXELS_AT_ONCE = 2**20
"""So that a large slab needs no copies of itself."""


class Doubt:
    """Sums up, slab by slab in any order, how sure the probabilities of a scan are."""

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


FILE = "calibration.json"
FEWEST = 4
"""Scans from which a line can be told."""
COVERAGE = 0.9
"""How often the interval is meant to hold."""
TINY = 1e-6


@dataclass(frozen=True)
class Known:
    """A scan that the training did not learn from, with its true Dice."""

    case: str
    dice: float
    """Mean over the foreground classes or regions."""
    doubt: Mapping[str, float]
    """Of :data:`SCORES`."""


@dataclass(frozen=True)
class Expected:
    """What a prediction is expected to be worth."""

    value: float
    low: float
    high: float
    coverage: float
    """How often such intervals are meant to hold."""

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return {key: round(number, 4) for key, number in asdict(self).items()}


class Calibration:
    """A line from score to Dice."""

    def __init__(
        self,
        known: Sequence[Known],
        source: str,
        options: Mapping[str, Any] | None = None,
        *,
        score: str = SCORE,
    ) -> None:
        self.source, self.score, self.options = source, score, dict(options or {})
        self.known = [one for one in known if math.isfinite(one.dice) and score in one.doubt]
        x = np.array([_log(one.doubt[score]) for one in self.known])
        y = np.array([one.dice for one in self.known])
        count = len(self.known)
        self.usable = count >= FEWEST
        if not self.usable:
            return
        self._line = _fit(x, y)
        keep = [np.arange(count) != i for i in range(count)]
        self._others = [_fit(x[mask], y[mask]) for mask in keep]
        self._gaps = [abs(y[i] - _at(line, x[i])) for i, line in enumerate(self._others)]
        self.review_below = float(np.quantile(y, 0.1))

    @property
    def coverage(self) -> float:
        """What the intervals aim at: 90 %, or n / (n + 1) with few scans."""
        count = len(self.known)
        return min(COVERAGE, count / (count + 1))

    def expected(self, doubt: Mapping[str, float]) -> Expected | None:
        """Of a prediction with this doubt; None where there are too few known scans."""
        if not self.usable or self.score not in doubt:
            return None
        at = _log(doubt[self.score])
        count = len(self.known)
        lows = sorted(_at(line, at) - gap for line, gap in zip(self._others, self._gaps, strict=True))
        highs = sorted(_at(line, at) + gap for line, gap in zip(self._others, self._gaps, strict=True))
        skip = max(math.floor((1 - COVERAGE) * (count + 1)) - 1, 0)
        low, high = max(lows[skip], 0.0), min(highs[count - 1 - skip], 1.0)
        value = min(max(_at(self._line, at), 0.0), 1.0)
        return Expected(value, min(low, value), max(high, value), self.coverage)

    def told(self, doubt: Mapping[str, float]) -> dict[str, Any]:
        """The entries of a record: ``expected_dice``, how it was calibrated or why it is null, ``review``."""
        found = self.expected(doubt)
        if found is None:
            few = f"only {plural(len(self.known), 'calibration scan')} ({self.source}), {FEWEST} are needed"
            return {"expected_dice": None, "expected_dice_reason": few, "review": False}
        how = f"from {self.score} by {plural(len(self.known), 'scan')} ({self.source})"
        return {
            "expected_dice": found.as_dict(),
            "expected_dice_reason": how,
            "review": found.value < self.review_below,
        }

    def save(self, path: Path) -> None:
        """Write the known scans, from which the line is made again."""
        scans = [{"case": one.case, "dice": one.dice, **one.doubt} for one in self.known]
        write_json(
            path, {"source": self.source, "score": self.score, "options": self.options, "scans": scans}
        )

    @classmethod
    def load(cls, path: Path, *, score: str | None = None) -> Self | None:
        """What :meth:`save` wrote; None where there is no sound file."""
        try:
            content = read_json(path)
            known = [
                Known(str(s["case"]), float(s["dice"]), {k: float(s[k]) for k in SCORES if k in s})
                for s in content["scans"]
            ]
            return cls(
                known, str(content["source"]), content["options"], score=score or str(content["score"])
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None


NOT_CALIBRATED = "the run is not calibrated: semiseg train --calibrate, or a validation list"


def of_model(
    sources: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> tuple[Calibration | None, str]:
    """The calibration of a model's run, or None and why there is none."""
    files = [str(source.get("file", "")) for source in sources]
    if len(files) != 1:
        return None, "an ensemble is not calibrated"
    found = Calibration.load(Path(files[0]).parent.parent / FILE) if files[0] else None
    if found is None:
        return None, NOT_CALIBRATED
    changed = sorted(key for key, value in found.options.items() if options.get(key, value) != value)
    if changed:
        return None, f"calibrated with another {', '.join(changed)}"
    return found, ""


def _log(score: float) -> float:
    return math.log(max(score, TINY))


Line = tuple[float, float]


def _fit(x: Any, y: Any) -> Line:
    """Slope (not above 0: more doubt is no better) and intercept, by medians of pairs."""
    one, other = np.triu_indices(len(x), 1)
    apart = x[one] != x[other]
    slopes = (y[other] - y[one])[apart] / (x[other] - x[one])[apart]
    slope = min(float(np.median(slopes)) if slopes.size else 0.0, 0.0)
    return slope, float(np.median(y - slope * x))


def _at(line: Line, x: float) -> float:
    return line[0] * x + line[1]
