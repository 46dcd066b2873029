"""The worst, the median and the best case of an arm, as small pictures inside the page."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from semiseg.report.comparison.sources import NoPicture, Scene, scene_of
from semiseg.report.comparison.words import lower_is_better

if TYPE_CHECKING:
    from semiseg.comparison.arm import Arm, RunScores

PIXELS = 340
"""Edge of a picture, which is square so that three of them stand side by side."""
QUALITY = 80
"""Of WebP; contours stay sharp and a picture takes about 10 kB."""
KINDS = ("worst", "median", "best")


@dataclass(frozen=True)
class Example:
    """One case of one run."""

    kind: str
    """One of :data:`KINDS`."""
    case: str
    value: float
    """Of the metric, the mean over classes."""
    picture: bytes
    """WebP; empty when there is none."""
    why_not: str = ""


def examples_of(arm: Arm, metric: str) -> list[Example]:
    """Pictures of an arm's first run; no file of it need be there.

    Args:
        arm: whose first run is shown: a picture is of one model.
        metric: by which cases are chosen.

    Returns:
        Worst, median and best case; fewer when there are fewer than three cases, none when no case has a
        value.
    """
    run = arm.runs[0]
    return [_example(run, kind, case, value) for kind, case, value in chosen(arm, run, metric)]


def chosen(arm: Arm, run: RunScores, metric: str) -> Iterator[tuple[str, str, float]]:
    """(kind, case, value) of the cases to show, no case twice."""
    values = np.ma.masked_invalid(run.scores[metric]).mean(axis=1).filled(np.nan)
    places = [i for i, case in enumerate(run.cases) if case in set(arm.cases) and not np.isnan(values[i])]
    sign = -1.0 if lower_is_better(metric) else 1.0
    places.sort(key=lambda i: (sign * values[i], run.cases[i]))
    if not places:
        return
    picks = {"worst": places[0], "median": places[(len(places) - 1) // 2], "best": places[-1]}
    shown: set[int] = set()
    for kind, place in picks.items():
        if place not in shown:
            shown.add(place)
            yield kind, run.cases[place], float(values[place])


def _example(run: RunScores, kind: str, case: str, value: float) -> Example:
    try:
        return Example(kind, case, value, drawn(scene_of(run, case)))
    except NoPicture as reason:
        return Example(kind, case, value, b"", str(reason))


def drawn(scene: Scene) -> bytes:
    """A square WebP of the most telling slice: the reference dashed, the prediction solid."""
    from matplotlib.figure import Figure
    from PIL import Image

    from semiseg.report.cuts import AXIAL, PLANE, best_cut
    from semiseg.report.overlay import draw_cut, intensity_window

    values = list(scene.labels.values())
    view = PLANE if scene.flat else AXIAL
    cut = best_cut(view, [scene.reference], [scene.prediction], values, scene.spacing)
    figure = Figure(figsize=(PIXELS / 100, PIXELS / 100), dpi=100, facecolor="black")
    longest = max(cut.width, cut.height)
    width, height = cut.width / longest, cut.height / longest
    axis = figure.add_axes(((1 - width) / 2, (1 - height) / 2, width, height))
    axis.set_axis_off()
    window = intensity_window(scene.image)
    draw_cut(axis, cut, scene.image, window, scene.prediction, scene.reference, values)
    drawing, stream = io.BytesIO(), io.BytesIO()
    figure.savefig(drawing, format="png", dpi=100)
    with Image.open(drawing) as picture:
        picture.convert("RGB").save(stream, "WEBP", quality=QUALITY, method=6)
    return stream.getvalue()
