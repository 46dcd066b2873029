"""The pictures of docs/gallery.md: `python benchmarks/gallery.py NAME RUN...`.

RUN are run folders with `test` scores of the same cases; the first chooses the worst, the median and the best
case, which all of them show. Pictures go to docs/assets/gallery/NAME_METHOD_KIND.webp.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import semiseg
from semiseg.comparison.report.examples import chosen, drawn, scene_of

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "assets" / "gallery"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the dataset, in the names of the files")
    parser.add_argument("runs", nargs="+", type=Path)
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    (group,) = semiseg.compare(given.runs).groups
    arms = {arm.runs[0].folder.resolve(): arm for arm in group.arms}
    first, *_ = (arms[run.resolve()] for run in given.runs)
    for kind, case, _ in chosen(first, first.runs[0], "Dice"):
        for run in given.runs:
            arm = arms[run.resolve()]
            (scores,) = arm.runs
            value = scores.scores["Dice"][scores.cases.index(case)].mean()
            path = FOLDER / f"{given.name}_{arm.method}_{kind}.webp"
            path.write_bytes(drawn(scene_of(scores, case)))
            print(f"{path.name}: {case}, Dice {value:.3f}")


if __name__ == "__main__":
    main()
