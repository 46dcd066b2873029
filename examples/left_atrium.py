"""Tutorial 2 as a script: what unlabeled scans gain. `python examples/left_atrium.py DATASET`.

It trains supervised and with unlabeled scans, scores both on the test scans and compares them. A training
that was stopped is resumed; one that is finished is not repeated.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import semiseg

HALF_RESOLUTION = {"plan.spacing": [1.25, 1.25, 1.25], "plan.patch": [56, 56, 40]}


def main() -> None:
    """Run the steps of the tutorial one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--labeled", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--as-planned", action="store_true", help="let the plan choose spacing and patch")
    given = parser.parse_args()
    for method in ("supervised", "fixmatch"):
        semiseg.train(
            given.dataset,
            method=method,
            labeled=given.labeled,
            iterations=given.iterations,
            settings=None if given.as_planned else HALF_RESOLUTION,
            run=method,
            resume=True,
        )
        predicted = Path(method) / "test"
        semiseg.predict(given.dataset / "imagesTs", predicted, method, overwrite=True)
        found = semiseg.evaluate(given.dataset / "labelsTs", predicted, dataset=given.dataset)
        found.save(predicted)
        sys.stdout.write(f"{method}: mean Dice {found.mean('Dice'):.3f}, HD95 {found.mean('HD95'):.2f}\n")
    comparison = semiseg.compare("supervised", "fixmatch")
    (group,) = comparison.groups
    test = group.test("fixmatch")
    if test is not None:
        sys.stdout.write(f"difference {test.difference:+.3f}, p {test.p_holm:.3f}\n")
    semiseg.comparison.write(comparison, "comparison")


if __name__ == "__main__":
    main()
