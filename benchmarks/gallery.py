"""The pictures of docs/gallery.md: `python benchmarks/gallery.py NAME RUN...`.

RUN are run folders with `test` scores of the same cases; the first chooses the worst, the median and the best
case, which all of them show. Pictures go to docs/assets/gallery/NAME_METHOD_KIND.webp.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import semiseg
from semiseg import images
from semiseg.comparison.report.examples import chosen, drawn, scene_of
from semiseg.drawing.overlay import to_ras

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "assets" / "gallery"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the dataset, in the names of the files")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--entropy", action="store_true", help="predictions have entropy maps; draw one")
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
            if given.entropy and kind == "median":
                draw_entropy(scores.predictions / f"{case}_entropy.nii.gz", path.with_stem("entropy"))


def draw_entropy(source: Path, path: Path) -> None:
    """The axial slice of an entropy map in which most is uncertain, from 0 (black) to 1 (white)."""
    volume, _ = to_ras(images.read(source).array, images.read(source).grid.affine)
    plane = volume[:, :, int(volume.sum((0, 1)).argmax())]
    figure = Figure(figsize=(3.4, 3.4), dpi=100, facecolor="black")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.imshow(np.flipud(plane.T), cmap="inferno", vmin=0, vmax=1)
    drawing = path.with_suffix(".png")
    figure.savefig(drawing)
    with Image.open(drawing) as picture:
        picture.convert("RGB").save(path, "WEBP", quality=80)
    drawing.unlink()
    print(f"{path.name}: {source.name}")


if __name__ == "__main__":
    main()
