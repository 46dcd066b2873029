"""How many exchanged labels ``semiseg check`` finds, and whether it suspects right ones.

``python -m benchmarks.swapped DATASET [DATASET ...]`` tries, on every two labeled cases of one size, the
labels as they are and exchanged. Where few cases have one size, ``--centered N`` adds pairs of any size, the
label of one laid on the middle of the other scan. A pair is found when the labels fit so much better
exchanged that ``check`` would tell; right labels are suspected when that is so of labels that nobody
exchanged. Kept in benchmarks/results/swapped.json, the page beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._machine import store, table
from numpy.typing import NDArray

from semiseg.dataset.case import LabeledCase
from semiseg.dataset.check.edges import fit, gray
from semiseg.dataset.check.misplaced import is_better
from semiseg.dataset.dataset import Dataset
from semiseg.dataset.patient import rule_from_names
from semiseg.images import read, read_header, read_label

RESULTS = Path(__file__).resolve().parent / "results"
Voxels = NDArray[Any]


def main() -> int:
    """Keep the counts of each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--centered", type=int, default=0, help="pairs of any size")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = [row for folder in given.datasets for row in measured(folder, given.centered)]
    head = [
        "data set",
        "pairs",
        "of",
        "found",
        "share",
        "right labels suspected",
        "smallest gain of right ones",
    ]
    lines = [
        [r["dataset"], r["kind"], str(r["pairs"]), str(r["found"]), f"{r['found'] / r['pairs']:.2f}",
         str(r["suspected"]), f"{r['least']:.2f}"]
        for r in rows
    ]  # fmt: skip
    command = "python -m benchmarks.swapped " + " ".join(folder.name for folder in given.datasets)
    command += f" --centered {given.centered}" if given.centered else ""
    title = "Labels of two cases exchanged"
    store(given.results, "swapped", title, command, table(head, lines), {"rows": rows})
    return 0


def measured(folder: Path, centered: int) -> list[dict[str, Any]]:
    """A row for each kind of pairs of a data set."""
    cases = [case for case in Dataset.open(folder).annotated if isinstance(case, LabeledCase)]
    rule = rule_from_names(case.id for case in cases)
    groups: dict[tuple[int, ...], list[LabeledCase]] = defaultdict(list)
    for case in cases:
        groups[read_header(case.images[0]).grid.shape].append(case)
    pairs = [pair for group in groups.values() for pair in combinations(group, 2)]
    kinds: dict[str, list[tuple[LabeledCase, LabeledCase]]] = defaultdict(list)
    for first, second in pairs:
        one = rule is not None and rule.patient(first.id) == rule.patient(second.id)
        kinds["one size, one patient" if one else "one size"].append((first, second))
    if centered:
        order = np.random.default_rng(0).permutation(len(cases))[: 2 * centered]
        chosen = [cases[number] for number in order]
        kinds["any size, centered"] = list(zip(chosen[::2], chosen[1::2], strict=False))
    return [counted(folder.name, kind, found) for kind, found in sorted(kinds.items())]


def counted(name: str, kind: str, pairs: list[tuple[LabeledCase, LabeledCase]]) -> dict[str, Any]:
    """How many pairs are found when they are exchanged, and suspected when they are not."""
    found = [fits_of(*pair) for pair in pairs]
    gains = [(own - other).tolist() for own, other, _ in found]
    return {
        "dataset": name,
        "kind": kind,
        "pairs": len(pairs),
        "found": sum(is_better(other, own, voxels) for own, other, voxels in found),
        "suspected": sum(is_better(own, other, voxels) for own, other, voxels in found),
        "least": min(map(sum, gains)),
        "gains": [[round(gain, 3) for gain in pair] for pair in gains],
    }


def fits_of(first: LabeledCase, second: LabeledCase) -> tuple[Voxels, Voxels, int]:
    """The fit of each scan's own label and of the other's, and the voxels of the smaller label."""
    images = [gray(read(case.images[0])) for case in (first, second)]
    labels = [read_label(case.label).array for case in (first, second)]
    own = [fit(image, label) for image, label in zip(images, labels, strict=True)]
    other = [
        fit(image, in_middle(label, image)) for image, label in zip(images, reversed(labels), strict=True)
    ]
    return np.array(own), np.array(other), min(np.count_nonzero(label) for label in labels)


def in_middle(label: Voxels, image: Voxels) -> Voxels:
    """The label cut and padded to the size of a scan."""
    out = np.zeros(image.shape, label.dtype)
    there, here = [], []
    for wanted, size in zip(image.shape, label.shape, strict=True):
        gap = (size - wanted) // 2
        there.append(slice(max(gap, 0), max(gap, 0) + min(size, wanted)))
        here.append(slice(max(-gap, 0), max(-gap, 0) + min(size, wanted)))
    out[tuple(here)] = label[tuple(there)]
    return out


if __name__ == "__main__":
    sys.exit(main())
