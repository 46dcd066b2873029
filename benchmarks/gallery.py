"""The pictures of docs/gallery.md: `python benchmarks/gallery.py NAME RUN...`.

RUN are run folders with `test` scores of the same cases; the first chooses the worst, the median and the best
case. Each picture has one panel per run, in the order given, and goes to docs/assets/gallery/NAME_KIND.webp.

    python benchmarks/gallery.py NAME --gain RUN...          the scan with the median gain of the second run
    python benchmarks/gallery.py NAME --entropy SCAN MAP     one scan beside its entropy map
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from PIL import Image

import semiseg
from semiseg import images
from semiseg.comparison.report.examples import chosen, scene_of
from semiseg.comparison.result import Arm
from semiseg.drawing.overlay import AXIAL, Cut, best_cut, draw_cut, intensity_window, to_ras
from semiseg.drawing.palette import colors

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "assets" / "gallery"
PANEL = 3.4
"""Inches of the longer edge of a panel."""
HEAD, FOOT = 0.3, 0.3
"""Inches above the panels for their titles, and below for the legend."""
MM = 10
"""Length of the scale bar."""
TITLES = {"fixmatch": "FixMatch", "supervised": "Supervised", "supervised, all labels": "All labels"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the dataset, in the names of the files")
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--gain", action="store_true", help="the scan with the median gain of the second run")
    parser.add_argument("--entropy", nargs=2, type=Path, metavar=("SCAN", "MAP"))
    given = parser.parse_intermixed_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if given.entropy:
        scan, labels = given.entropy
        draw_entropy(scan, labels, FOLDER / f"{given.name}_entropy.webp")
    if given.runs:
        draw = draw_gain if given.gain else draw_cases
        draw(given.name, arms_of(given.runs))


def draw_cases(name: str, arms: Sequence[Arm]) -> None:
    """One picture for each of the worst, the median and the best case of the first run."""
    for kind, case, _ in chosen(arms[0], arms[0].runs[0], "Dice"):
        draw_case(arms, case, FOLDER / f"{name}_{kind}.webp")


def draw_gain(name: str, arms: Sequence[Arm]) -> None:
    """One picture of the case with the median difference between the first two runs."""
    first, second = (dice_of(arm) for arm in arms[:2])
    order = sorted(first, key=lambda case: second[case] - first[case])
    draw_case(arms, order[len(order) // 2], FOLDER / f"{name}_gain.webp")


def arms_of(folders: Sequence[Path]) -> list[Arm]:
    """Runs of the same test cases, as the groups of a comparison."""
    arms = {
        arm.runs[0].folder.resolve(): arm for group in semiseg.compare(folders).groups for arm in group.arms
    }
    return [arms[folder.resolve()] for folder in folders]


def dice_of(arm: Arm) -> dict[str, float]:
    """Case -> mean Dice of its classes."""
    (run,) = arm.runs
    return dict(zip(run.cases, run.scores["Dice"].mean(axis=1), strict=True))


def draw_case(arms: Sequence[Arm], case: str, path: Path) -> None:
    """One panel per run: the same slice of a scan, with reference and prediction."""
    scenes = [scene_of(arm.runs[0], case) for arm in arms]
    values = list(scenes[0].labels.values())
    reference, predictions = scenes[0].reference, [scene.prediction for scene in scenes]
    cut = best_cut(AXIAL, [reference], predictions, values, scenes[0].spacing)
    titles = [f"{TITLES.get(arm.name, arm.name)}, Dice {dice_of(arm)[case]:.3f}" for arm in arms]
    figure, axes = panels(cut, titles)
    for axis, scene in zip(axes, scenes, strict=True):
        window = intensity_window(scene.image)
        draw_cut(axis, cut, scene.image, window, scene.prediction, reference, values)
    legend(figure, list(scenes[0].labels))
    save(figure, path)
    print(f"{path.name}: {case}: {'; '.join(titles)}")


def draw_entropy(scan: Path, source: Path, path: Path) -> None:
    """A scan with what was predicted, beside the entropy map that lies next to the prediction."""
    loaded = images.read(scan)
    affine = loaded.grid.affine
    image, spacing = to_ras(loaded.array, affine)
    volume, _ = to_ras(images.read(source).array, affine)
    labels, _ = to_ras(images.read(source.with_name(source.name.replace("_entropy", ""))).array, affine)
    values = [int(value) for value in np.unique(labels) if value]
    cut = best_cut(AXIAL, [labels], [labels], values, spacing)
    figure, (left, right) = panels(cut, ["Prediction", "Entropy"], bar=True)
    draw_cut(left, cut, image, intensity_window(image), labels, None, values)
    extent = (0.0, cut.width, cut.height, 0.0)
    drawn = right.imshow(
        cut.of(volume), cmap="inferno", vmin=0, vmax=1, extent=extent, interpolation="nearest"
    )
    bar = figure.colorbar(drawn, cax=figure.add_axes((0.91, 0.2, 0.02, 0.6)))
    bar.ax.tick_params(colors="white", labelsize=8)
    save(figure, path)
    print(f"{path.name}: {scan.name}, entropy 0 to {volume.max():.2f}")


def panels(cut: Cut, titles: list[str], *, bar: bool = False) -> tuple[Figure, list[Axes]]:
    """A black figure with one panel per title, the letter of the patient's right side and a scale bar."""
    longest = max(cut.width, cut.height)
    width, height = PANEL * cut.width / longest, PANEL * cut.height / longest
    size = (len(titles) * width + 0.1 * (len(titles) - 1) + 0.9 * bar, height + HEAD + FOOT)
    figure = Figure(figsize=size, dpi=100, facecolor="black")
    rim = [withStroke(linewidth=2, foreground="black")]
    axes = []
    for number, title in enumerate(titles):
        place = (number * (width + 0.1) / size[0], FOOT / size[1], width / size[0], height / size[1])
        axis = figure.add_axes(place)
        axis.set_axis_off()
        axis.set_title(title, color="white", fontsize=10, pad=5)
        axis.text(0.02, 0.5, "R", transform=axis.transAxes, color="white", fontsize=9, path_effects=rim)
        left, bottom = 0.03 * cut.width, 0.96 * cut.height
        axis.plot([left, left + MM], [bottom, bottom], color="white", linewidth=2, path_effects=rim)
        axis.text(left, 0.945 * cut.height, f"{MM} mm", color="white", fontsize=8, path_effects=rim)
        axes.append(axis)
    return figure, axes


def legend(figure: Figure, names: list[str]) -> None:
    """Classes by color, and what the lines are, below the panels."""
    lines = [Line2D([], [], color=color, linewidth=2) for color in colors(len(names))]
    lines += [Line2D([], [], color="white", linewidth=1.5, linestyle=style) for style in ("-", "--")]
    figure.legend(
        lines,
        [*names, "prediction", "reference"],
        loc="lower center",
        ncols=len(lines),
        fontsize=8,
        frameon=False,
        labelcolor="white",
        handlelength=1.6,
        columnspacing=1.2,
        borderaxespad=0.1,
    )


def save(figure: Figure, path: Path) -> None:
    """Write a figure as WebP, twice as large as it is shown."""
    drawing = io.BytesIO()
    figure.savefig(drawing, format="png", dpi=200)
    with Image.open(drawing) as picture:
        picture.convert("RGB").save(path, "WEBP", quality=80, method=6)


if __name__ == "__main__":
    main()
