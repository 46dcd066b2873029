"""Tutorial 3 as a script: from a DICOM export to masks. `python examples/own_scans.py`.

It expects the folders that `python examples/scans.py --dicom` makes, and writes beside them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import semiseg


def main() -> None:
    """Run the steps of the tutorial one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, help="the default takes minutes on a CPU")
    parser.add_argument("-i", "--input", type=Path, default=Path(), help="where the three folders are")
    given = parser.parse_args()
    here = given.input

    made = semiseg.init(here / "SCANS", here / "MyDataset", label_names={1: "head", 2: "tail"})
    say(*made.decisions)
    say(semiseg.check(made.folder).as_text())
    run = semiseg.train(
        made.folder, method="mean_teacher", iterations=given.iterations, run=here / "RUN", device="cpu"
    )
    report = semiseg.predict(here / "NEW_SCANS", here / "SEGMENTATIONS", run.folder, uncertainty=True)
    say(f"{len(report.done)} scans segmented: {here / 'SEGMENTATIONS'}")
    evaluation = semiseg.evaluate(here / "REFERENCES", here / "SEGMENTATIONS")
    say(f"mean Dice {evaluation.mean('Dice'):.3f}")


def say(*lines: str) -> None:
    """Print lines."""
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
