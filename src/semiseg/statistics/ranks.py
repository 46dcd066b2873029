"""Several methods on the same cases: ranks, Friedman's test and Nemenyi's critical difference.

The procedure is that of Demsar (JMLR 7, 2006, "Statistical comparisons of classifiers over multiple data
sets"), with cases in place of data sets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiseg.statistics.signed_rank import DECIMALS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Friedman:
    """Whether several methods differ at all.

    Attributes:
        mean_ranks: (k,), 1 is best.
        n: cases ranked.
        statistic: chi-squared with k - 1 degrees of freedom, corrected for ties.
        p: NaN when ``why_not`` says why there is none.
    """

    mean_ranks: Floats
    n: int
    statistic: float
    p: float
    why_not: str = ""


def friedman(scores: Floats) -> Friedman:
    """Rank the methods on each case and test whether all ranks are alike (Friedman 1937).

    Args:
        scores: (n cases, k methods) without NaN, higher is better; ties share their mean rank.
    """
    from scipy.stats import chi2, rankdata

    rounded: Floats = np.asarray(scores, dtype=np.float64).round(DECIMALS)
    n, k = rounded.shape
    if n == 0:
        return Friedman(np.full(k, np.nan), 0, math.nan, math.nan, "no case that all define")
    ranks: Floats = np.asarray(rankdata(-rounded, axis=1), dtype=np.float64)
    means = ranks.mean(axis=0)
    if k < 3:
        return Friedman(means, n, math.nan, math.nan, f"{k} to rank; the test needs 3")
    if n < 2:
        return Friedman(means, n, math.nan, math.nan, "a single case")
    # The variance of the ranks found, instead of that of 1..k, is the correction for ties.
    variance = float((ranks**2).sum() / n - k * (k + 1) ** 2 / 4)
    if variance <= 0:
        return Friedman(means, n, math.nan, math.nan, "all are equal in every case")
    statistic = (k - 1) * n * float(((means - (k + 1) / 2) ** 2).sum()) / variance
    return Friedman(means, n, statistic, float(chi2.sf(statistic, k - 1)))


def critical_difference(k: int, n: int, alpha: float = 0.05) -> float:
    """The difference of mean ranks from which two of k methods differ on n cases (Nemenyi 1963).

    Args:
        k: methods, at least 2.
        n: cases, at least 1.
        alpha: the chance of any false difference.
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)
    return q * math.sqrt(k * (k + 1) / (6 * n))


def cliques(mean_ranks: Sequence[float], width: float) -> list[tuple[int, int]]:
    """Maximal runs of methods whose mean ranks lie within ``width``, as (first, last) places.

    Args:
        mean_ranks: in ascending order.
        width: the critical difference.

    Returns:
        Runs of two or more, no run inside another.
    """
    found: list[tuple[int, int]] = []
    for first, rank in enumerate(mean_ranks):
        last = max(i for i, other in enumerate(mean_ranks) if other - rank <= width)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
