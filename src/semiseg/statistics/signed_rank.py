"""Wilcoxon's signed-rank test of paired differences, exact where it matters, and its effect size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

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
