"""Whether ``semiseg check`` tells of labels that are all moved alike, and suspects none that are right.

``python -m benchmarks.moved DATASET [DATASET ...]`` takes labeled cases in groups of as many as ``check``
looks at, and says of each group whether its labels are suspected as they are, and how much better than at
their own place they fit at the best other one (2 or more voxels away). How well they would fit had they all
been moved along one axis follows from the same numbers: the share of such moves that ``check`` would tell of.
Kept in benchmarks/results/moved.json, the page beside it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._machine import store, table

from semiseg.dataset.case import LabeledCase
from semiseg.dataset.check.edges import gray
from semiseg.dataset.check.misplaced import FARTHEST, MOST_MOVED, Fits, best_move, is_elsewhere, moved_fits
from semiseg.dataset.dataset import Dataset
from semiseg.images import read, read_label

RESULTS = Path(__file__).resolve().parent / "results"
MOVES = (2, 4, 8, 12, 16)
"""Voxels along one axis, there and back."""


def main() -> int:
    """Keep the figures of each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--groups", type=int, default=3, help="of each data set, at most")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = [measured(folder, given.groups) for folder in given.datasets]
    head = ["data set", "groups", "right ones suspected", "best other place", *(f"told: {n}" for n in MOVES)]
    lines = [
        [
            row["dataset"],
            str(row["groups"]),
            str(row["suspected"]),
            f"{row['best_other']:+.2f}",
            *(f"{row['told'][str(n)]:.2f}" for n in MOVES),
        ]
        for row in rows
    ]
    command = "python -m benchmarks.moved " + " ".join(folder.name for folder in given.datasets)
    title = "Labels that are all moved alike"
    store(given.results, "moved", title, command, table(head, lines), {"rows": rows})
    return 0


def measured(folder: Path, groups: int) -> dict[str, Any]:
    """The row of a data set."""
    cases = [case for case in Dataset.open(folder).annotated if isinstance(case, LabeledCase)]
    order = np.random.default_rng(0).permutation(len(cases))[: groups * MOST_MOVED]
    found = [
        moved_fits(gray(read(cases[i].images[0])), read_label(cases[i].label).array) for i in sorted(order)
    ]
    each = [fits for fits in found if fits is not None]
    parts = [each[start::groups] for start in range(groups)]
    return {
        "dataset": folder.name,
        "cases": len(each),
        "groups": len(parts),
        "suspected": sum(bool(best_move(part)[1]) for part in parts),
        "best_other": max(best_other(np.mean(part, axis=0)) for part in parts),
        "told": {str(n): float(np.mean([told(np.mean(part, axis=0), n) for part in parts])) for n in MOVES},
    }


def best_other(mean: Fits) -> float:
    """The best mean fit at two or more voxels from the middle."""
    away = np.max(np.abs(np.indices(mean.shape) - FARTHEST), axis=0) > 1
    return float(mean[away].max() - mean[(FARTHEST,) * mean.ndim])


def told(mean: Fits, by: int) -> float:
    """The share of moves by so many voxels along one axis after which the labels fit better moved back."""
    middle = np.full(mean.ndim, FARTHEST)
    sides = [
        middle + sign * by * np.eye(mean.ndim, dtype=int)[axis]
        for axis in range(mean.ndim)
        for sign in (-1, 1)
    ]
    return float(np.mean([is_elsewhere(mean[tuple(side)], mean.max()) for side in sides]))


if __name__ == "__main__":
    sys.exit(main())
