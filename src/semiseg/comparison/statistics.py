"""Bootstrap intervals, Wilcoxon's signed-rank test with Holm's correction, and ranks with Friedman's test.

Bootstrap: a statistic is a function of weights ``(B, n)``, how often each of the n cases was drawn in each of
B resamples. Means of anything are then matrix products, and what is paired (methods, seeds, classes) stays
paired, because whole cases are drawn.

Ranks: the procedure is that of Demsar (JMLR 7, 2006, "Statistical comparisons of classifiers over multiple
data sets"), with cases in place of data sets.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.comparison.result import Floats, Interval, Method

Statistic = Callable[[Floats], Floats]

RESAMPLES = 9999
FEWEST = 5
"""Cases below which no interval is given: 4 cases have 35 distinct resamples."""


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


EXACT_UP_TO = 100
"""Differences up to which the distribution is counted out, ties or not; beyond, it is taken as normal."""
DECIMALS = 12
"""Differences are rounded to so many decimals, so that float noise neither makes nor breaks a tie."""


@dataclass(frozen=True)
class SignedRank:
    """The outcome of the test.

    Attributes:
        n: differences, zeros included.
        zeros: how many of them are zero.
        plus: sum of the ranks of the positive differences.
        minus: the same of the negative ones.
        p: two-sided; NaN when ``why_not`` says why there is none.
        exact: whether the distribution was counted out.
    """

    n: int
    zeros: int
    plus: float
    minus: float
    p: float
    exact: bool
    why_not: str = ""

    @property
    def effect(self) -> float:
        """Matched-pairs rank-biserial correlation (Kerby 2014, doi:10.2466/11.IT.3.1).

        In [-1, 1]: the share of the rank sum that is positive minus the share that is negative. NaN when all
        differences are zero.
        """
        total = self.plus + self.minus
        return (self.plus - self.minus) / total if total else math.nan


def signed_rank(differences: Floats) -> SignedRank:
    """Test whether paired differences lie symmetrically about zero (Wilcoxon 1945, doi:10.2307/3001968).

    Zeros take part in the ranking and are then dropped (Pratt 1959, doi:10.1080/01621459.1959.10501526);
    equal sizes share their mean rank. The p value is that of all 2^n ways to sign the ranks found, which is
    exact with ties and zeros too; beyond :data:`EXACT_UP_TO` it is the normal approximation with the
    variance of those ranks and no continuity correction.

    Args:
        differences: (n,), finite or infinite, no NaN.
    """
    rounded = np.asarray(differences, dtype=np.float64).round(DECIMALS)
    n, zeros = rounded.size, int(np.count_nonzero(rounded == 0))
    if n == zeros:
        why = "no case" if n == 0 else "the two are equal in every case"
        return SignedRank(n, zeros, 0.0, 0.0, math.nan, True, why)
    from scipy.stats import rankdata

    ranks: Floats = rankdata(np.abs(rounded))
    plus, minus = float(ranks[rounded > 0].sum()), float(ranks[rounded < 0].sum())
    if n == 1:
        return SignedRank(n, zeros, plus, minus, math.nan, True, "a single case")
    used = ranks[rounded != 0]
    exact = used.size <= EXACT_UP_TO
    p = _counted(used, min(plus, minus)) if exact else _normal(used, min(plus, minus))
    return SignedRank(n, zeros, plus, minus, p, exact)


def _counted(ranks: Floats, smaller: float) -> float:
    """Twice the share of all signings whose smaller rank sum is as small as the one found."""
    doubled = np.rint(2 * ranks).astype(int)  # halves from ties become whole
    shares = np.zeros(doubled.sum() + 1)
    shares[0] = 1.0
    for rank in doubled:
        moved = np.zeros_like(shares)
        moved[rank:] = shares[: shares.size - rank]
        shares = (shares + moved) / 2
    return min(1.0, 2 * float(shares[: round(2 * smaller) + 1].sum()))


def _normal(ranks: Floats, smaller: float) -> float:
    z = (smaller - ranks.sum() / 2) / math.sqrt(float((ranks**2).sum()) / 4)
    return min(1.0, math.erfc(-z / math.sqrt(2)))


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
    """The difference of mean ranks from which two of k methods differ on n cases (Nemenyi 1963)."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)
    return q * math.sqrt(k * (k + 1) / (6 * n))


def cliques(mean_ranks: Sequence[float], width: float) -> list[tuple[int, int]]:
    """Maximal runs of methods whose mean ranks lie within ``width``, as (first, last) places.

    Returns:
        Runs of two or more, no run inside another.
    """
    found: list[tuple[int, int]] = []
    for first, rank in enumerate(mean_ranks):
        last = max(i for i, other in enumerate(mean_ranks) if other - rank <= width)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Step-down correction (Holm 1979, doi:10.2307/4615733): rejecting what is below alpha keeps the chance
    of any false rejection in the family below alpha, whatever depends on what.

    Returns:
        Corrected values in the same order, NaN where there was none.
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    corrected = [math.nan] * len(p_values)
    highest = 0.0
    for step, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - step) * p_values[i]))
        corrected[i] = highest
    return corrected


@dataclass(frozen=True)
class Paired:
    """Differences a - b of the cases in which both are defined.

    Attributes:
        used: (cases,) which those are.
        differences: (n,); 0 where both are infinite alike.
    """

    used: NDArray[np.bool_]
    differences: Floats

    @property
    def n(self) -> int:
        """Cases in which both are defined."""
        return self.differences.size

    @property
    def excluded(self) -> int:
        """Cases in which one is not."""
        return int(np.count_nonzero(~self.used))

    def counts(self, *, higher_is_better: bool) -> tuple[int, int, int]:
        """How often a wins, ties and loses; differences that round to 0 tie."""
        signs = np.sign(np.round(self.differences, DECIMALS)) * (1 if higher_is_better else -1)
        wins, losses = int(np.count_nonzero(signs > 0)), int(np.count_nonzero(signs < 0))
        return wins, self.n - wins - losses, losses


def pair(a: Floats, b: Floats) -> Paired:
    """Pair two rows of scores case by case; a case that either leaves undefined (NaN) is excluded.

    Args:
        a: (cases,).
        b: (cases,), the same cases in the same order.
    """
    used = ~(np.isnan(a) | np.isnan(b))
    x, y = a[used], b[used]
    equal = x == y  # inf - inf is no number, and is no difference either
    return Paired(used, np.subtract(x, y, out=np.zeros_like(x), where=~equal))
