"""The worst, the median and the best case of an arm, as small pictures inside the page.

Where the pictures of a scored case come from: its image, its reference and its prediction, as arrays.

The evaluation noted reference and prediction, and the record beside a prediction its inputs. Where such a
note is missing or its files have moved, the usual places of a dataset and of a run are tried.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semiseg.comparison.result.format import lower_is_better
from semiseg.drawing.overlay import Array
from semiseg.errors import SemisegError
from semiseg.machine.files import read_json

if TYPE_CHECKING:
    from semiseg.comparison.result import Arm, RunScores
    from semiseg.preparation.plan import Plan

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
    """Pictures of the worst, the median and the best case of an arm's first run, by a metric.

    Fewer where there are fewer than three cases, none where no case has a value; no file need be there.
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

    from semiseg.drawing.overlay import AXIAL, PLANE, best_cut, draw_cut, intensity_window

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


IMAGE_FOLDERS = {"labelsTs": "imagesTs", "labelsTr": "imagesTr"}


class NoPicture(Exception):
    """Says in words what is missing."""


@dataclass(frozen=True)
class Scene:
    """One case, ready to be drawn: (X, Y, Z) arrays in RAS order, a 2D image as (columns, rows, 1)."""

    image: Array
    reference: Array
    prediction: Array
    spacing: tuple[float, float, float]
    labels: Mapping[str, int | Sequence[int]]
    """Class name -> value in the label maps, or the values of a region, without the background."""
    flat: bool


def scene_of(run: RunScores, case: str) -> Scene:
    """Read what is needed to draw a case of a run (NoPicture: a file is not there or cannot be read)."""
    from semiseg.preparation.plan import Plan

    try:
        plan = Plan.model_validate(dict(run.plan))
    except ValueError:
        raise NoPicture("the run has no readable plan.json") from None
    reference, prediction = _label_maps(run, case)
    image = _image(run, case, reference)
    try:
        return _read(plan, image, reference, prediction)
    except (SemisegError, OSError) as error:
        raise NoPicture(getattr(error, "message", str(error))) from error


def _label_maps(run: RunScores, case: str) -> tuple[Path, Path]:
    noted = [Path(name) if name else None for name in run.files.get(case, (None, None))]
    reference, prediction = noted
    if prediction is None or not prediction.is_file():
        prediction = _beside(run.predictions, case)
    if reference is None or not reference.is_file():
        raise NoPicture(f"the reference {reference or 'label map'} is not there")
    if prediction is None:
        raise NoPicture(f"there is no predicted label map in {run.predictions}")
    return reference, prediction


def _image(run: RunScores, case: str, reference: Path) -> Path:
    """The first channel: as the prediction's record has it, else at its place in the reference's dataset."""
    try:
        record = read_json(run.predictions / f"{case}.json")
        noted = Path(record["inputs"][0])
    except (OSError, ValueError, LookupError, TypeError):
        noted = Path()
    if noted.is_file():
        return noted
    folder = reference.parent.parent / IMAGE_FOLDERS.get(reference.parent.name, "images")
    found = _beside(folder, f"{case}_0000") or _beside(folder, case)
    if found is None:
        raise NoPicture(f"the image of the case is not there (looked in {folder})")
    return found


def _beside(folder: Path, name: str) -> Path | None:
    from semiseg.images import ENDINGS

    candidates = (folder / f"{name}{ending}" for ending in ENDINGS)
    return next((path for path in candidates if path.is_file()), None)


def _read(plan: Plan, image: Path, reference: Path, prediction: Path) -> Scene:
    from semiseg.drawing.overlay import deep, to_ras
    from semiseg.evaluation.files import declared_values
    from semiseg.images import read, read_label
    from semiseg.preparation.labels import file_values

    scan, truth, guess = read(image), read_label(reference), read_label(prediction)
    if not scan.grid.shape == truth.grid.shape == guess.grid.shape:
        raise NoPicture("image, reference and prediction have different shapes")
    back = dict(zip(file_values(plan), plan.labels.values(), strict=True))
    wanted, _ = declared_values(truth.array, reference, plan.label_map)
    given, _ = declared_values(guess.array, prediction, {**plan.label_map, **back})
    gray = scan.array if scan.array.ndim == len(scan.grid.shape) else scan.array[..., :3].mean(axis=-1)
    labels: dict[str, int | Sequence[int]] = {n: value for n, value in plan.labels.items() if value != 0}
    labels = dict(plan.regions) or labels
    if len(truth.grid.shape) == 2:
        rows, columns = truth.grid.spacing
        return Scene(deep(gray), deep(wanted), deep(given), (columns, rows, 1.0), labels, flat=True)
    volumes = [to_ras(array, truth.grid.affine) for array in (gray, wanted, given)]
    (voxels, spacing), (wanted, _), (given, _) = volumes
    return Scene(voxels, wanted, given, spacing, labels, flat=False)
