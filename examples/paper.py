"""Tutorial 4 as a script: a sweep, its comparison and the report. `python examples/paper.py`.

It draws the dataset of `examples/paper.yaml` where there is none, trains every run of the file, compares
them and writes the report. Calling it again trains only what is not there yet.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import semiseg
from semiseg.demo.phantoms import make_phantom_dataset

SPEC = Path(__file__).with_name("paper.yaml")
DATASET = Path("PhantomsForPaper")


def main() -> None:
    """Run the steps of the tutorial one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="only draw the dataset")
    parser.add_argument("--iterations", type=int, help="of each run, instead of the file's")
    given = parser.parse_args()
    if not DATASET.is_dir():
        make_phantom_dataset(DATASET, labeled=8, unlabeled=24, test=12)
    if given.draw:
        return
    spec = SPEC
    if given.iterations:
        spec = Path(SPEC.name)
        text = SPEC.read_text("utf-8").replace("iterations: 200", f"iterations: {given.iterations}")
        spec.write_text(text.replace("[0, 1]", "[0]"), "utf-8")
    outcome = semiseg.sweep(spec, workers=0)  # in this process, one after another
    if problem := outcome.problem():
        raise problem
    comparison = semiseg.compare(Path("runs") / SPEC.stem)
    (group,) = comparison.groups
    for arm in group.arms:
        dice = group.summary(arm.name, "Dice")
        sys.stdout.write(f"{arm.name}: mean Dice {dice.mean:.3f} over {dice.replicates} runs\n")
    semiseg.comparison.write(comparison, "comparison")
    sys.stdout.write("report: comparison/report.html\n")


if __name__ == "__main__":
    main()
