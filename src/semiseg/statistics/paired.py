"""Two methods on the same cases: differences, and who is better how often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiseg.statistics.signed_rank import DECIMALS

Floats = NDArray[np.float64]


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
