"""From the metrics of cases to means: per case first, then over cases, then over classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

AGGREGATION = (
    "Every metric is computed per case and class on the whole volume. 'mean' is the mean over cases for each "
    "class and 'foreground_mean' the mean of those class means over the foreground classes. Undefined values "
    "(null) are left out of a mean and counted: 'counted' says how many cases each mean holds. "
    "'dataset_level' is computed from the voxels of all cases together."
)


class Stats(NamedTuple):
    """The values of one metric over cases."""

    mean: float
    sd: float
    """Of the sample (n - 1); NaN for fewer than two values."""
    counted: int
    """How many values were defined."""


def statistics(values: Iterable[float]) -> Stats:
    """Mean and SD of the values that are not NaN; NaN when there are none, never a warning."""
    known = np.array([v for v in values if not math.isnan(v)], dtype=np.float64)
    if not known.size:
        return Stats(math.nan, math.nan, 0)
    spread = math.nan
    if known.size > 1 and np.isfinite(known).all():
        spread = float(known.std(ddof=1))
    return Stats(float(known.mean()), spread, int(known.size))


def over_classes(class_means: Iterable[float], undefined_class: str) -> float:
    """The mean of class means; a NaN among them is left out, or makes the mean NaN (``undefined_class``)."""
    means = list(class_means)
    if undefined_class == "nan" and any(math.isnan(mean) for mean in means):
        return math.nan
    return statistics(means).mean


def empties(rows: Iterable[Mapping[str, float]]) -> dict[str, int]:
    """How often a mask of the class was empty, from the counts of each case."""
    counts = {"both_empty": 0, "empty_prediction": 0, "empty_reference": 0, "neither_empty": 0}
    kind = {
        (False, False): "both_empty",
        (False, True): "empty_prediction",
        (True, False): "empty_reference",
        (True, True): "neither_empty",
    }
    for row in rows:
        counts[kind[row["n_pred"] > 0, row["n_ref"] > 0]] += 1
    return counts
