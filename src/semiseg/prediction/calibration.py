"""From a score of doubt to an expected Dice with an interval, by scans of which the true Dice is known.

A robust line (Theil 1950, Sen 1968) leads from the logarithm of the score to Dice; the interval is that of
the jackknife+ (Barber et al. 2021, arXiv 1905.02928). With n scans no interval can promise more than
n / (n + 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from semiseg.machine.files import read_json, write_json
from semiseg.prediction.doubt import SCORE, SCORES

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
        numbers = {"value": self.value, "low": self.low, "high": self.high, "coverage": self.coverage}
        return {key: round(number, 4) for key, number in numbers.items()}


class Calibration:
    """A line from score to Dice.

    Args:
        known: scans with their true Dice.
        source: where they come from, in words.
        options: of the predictions that were scored.
        score: which of :data:`SCORES`.
    """

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
            few = f"only {len(self.known)} calibration scans ({self.source}), {FEWEST} are needed"
            return {"expected_dice": None, "expected_dice_reason": few, "review": False}
        how = f"from {self.score} by {len(self.known)} scans ({self.source})"
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
    """The calibration of a model's run, or None and why there is none.

    Args:
        sources: ``file`` of each member.
        options: of the prediction; those of the calibration must be the same.
    """
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
