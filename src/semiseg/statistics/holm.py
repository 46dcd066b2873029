"""Holm's correction of several p values."""

from __future__ import annotations

import math
from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Step-down correction (Holm 1979, doi:10.2307/4615733): rejecting what is below alpha keeps the chance
    of any false rejection in the family below alpha, whatever depends on what.

    Args:
        p_values: of one family; NaN for a test that could not be made, which counts for nothing.

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
