"""Bootstrap confidence intervals over cases, vectorized: a resample is a row of weights.

A statistic is a function of weights ``(B, n)``, how often each of the n cases was drawn in each of B
resamples. Means of anything are then matrix products, and what is paired (methods, seeds, classes) stays
paired, because whole cases are drawn.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
Method = Literal["bca", "percentile"]

RESAMPLES = 9999
FEWEST = 5
"""Cases below which no interval is given: 4 cases have 35 distinct resamples."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval, or why there is none."""

    low: float
    high: float
    level: float = 0.95
    method: Method = "bca"
    why_not: str = ""
    """Empty when there is an interval."""

    @classmethod
    def none(cls, why: str, level: float = 0.95) -> Interval:
        """No interval, and why."""
        return cls(math.nan, math.nan, level, why_not=why)


def bootstrap(
    statistic: Statistic,
    n: int,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = "bca",
) -> Interval:
    """The interval of a statistic of n cases, by drawing n of them with replacement, again and again.

    ``bca`` corrects the percentiles for bias and skewness (Efron 1987, doi:10.1080/01621459.1987.10478410);
    where the correction is not defined (all jackknife values alike), the plain percentiles are given and the
    result says so.

    Args:
        statistic: weights (B, n) -> values (B,); equal weights give the value of the cases as they are.
        n: number of cases.
        level: of confidence, in (0, 1).
        resamples: B.
        seed: of the draws; the same seed gives the same interval.
        method: ``bca`` or ``percentile``.

    Returns:
        The interval; without one, ``why_not`` says what is missing (too few cases, a value that is not
        finite).
    """
    if n < FEWEST:
        return Interval.none(f"{n} case{'s' * (n != 1)}; an interval needs {FEWEST}", level)
    found = statistic(weights(n, resamples, seed))
    value = float(statistic(np.ones((1, n)))[0])
    if not math.isfinite(value) or not np.isfinite(found).all():
        return Interval.none("a resample has no finite value", level)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    corrected = _bca_tails(found, value, statistic(1.0 - np.eye(n)), tails) if method == "bca" else None
    low, high = np.percentile(found, 100 * (tails if corrected is None else corrected))
    return Interval(float(low), float(high), level, "percentile" if corrected is None else "bca")


@functools.lru_cache(maxsize=2)
def weights(n: int, resamples: int, seed: int) -> Floats:
    """How often each case is in each resample, (B, n); kept, because many statistics share the draws."""
    draws = np.random.default_rng(seed).integers(0, n, (resamples, n))
    rows = np.arange(resamples)[:, None] * n
    counts = np.bincount((draws + rows).ravel(), minlength=resamples * n).reshape(-1, n).astype(np.float64)
    counts.setflags(write=False)
    return counts


def _bca_tails(found: Floats, value: float, jackknife: Floats, tails: Floats) -> Floats | None:
    """The percentiles to read instead of ``tails``; None where they are not defined."""
    from scipy.special import ndtr, ndtri

    spread: Any = jackknife.mean() - jackknife
    squares = float((spread**2).sum())
    noise = 1e-12 * max(1.0, abs(value))  # resamples that hold the value itself, but for rounding, count half
    below = (np.mean(found < value - noise) + np.mean(found <= value + noise)) / 2
    if squares <= 1e-24 or not np.isfinite(jackknife).all() or not 0 < below < 1:
        return None
    acceleration = float((spread**3).sum()) / (6 * squares**1.5)
    bias = ndtri(below)
    reach = bias + ndtri(tails)
    corrected: Floats = ndtr(bias + reach / (1 - acceleration * reach))
    return corrected
