"""Where the pictures of a scored case come from: its image, its reference and its prediction, as arrays.

The evaluation noted reference and prediction, and the record beside a prediction its inputs. Where such a
note is missing or its files have moved, the usual places of a dataset and of a run are tried.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semiseg.errors import SemisegError
from semiseg.report.cuts import Array

if TYPE_CHECKING:
    from semiseg.comparison.arm import RunScores
    from semiseg.data.plan import Plan

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
    labels: Mapping[str, int]
    """Class name -> value in the label maps, without the background."""
    flat: bool


def scene_of(run: RunScores, case: str) -> Scene:
    """Read what is needed to draw a case of a run.

    Raises:
        NoPicture: a file is not there or cannot be read.
    """
    from semiseg.data.plan import Plan

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
        record = json.loads((run.predictions / f"{case}.json").read_text(encoding="utf-8"))
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
    from semiseg.data.formats import ENDINGS

    candidates = (folder / f"{name}{ending}" for ending in ENDINGS)
    return next((path for path in candidates if path.is_file()), None)


def _read(plan: Plan, image: Path, reference: Path, prediction: Path) -> Scene:
    from semiseg.data.formats import read, read_label
    from semiseg.data.labels import file_values
    from semiseg.metrics.values import declared_values
    from semiseg.report.cuts import to_ras
    from semiseg.report.overlay import deep

    scan, truth, guess = read(image), read_label(reference), read_label(prediction)
    if not scan.grid.shape == truth.grid.shape == guess.grid.shape:
        raise NoPicture("image, reference and prediction have different shapes")
    back = dict(zip(file_values(plan), plan.labels.values(), strict=True))
    wanted, _ = declared_values(truth.array, reference, plan.label_map)
    given, _ = declared_values(guess.array, prediction, {**plan.label_map, **back})
    gray = scan.array if scan.array.ndim == len(scan.grid.shape) else scan.array[..., :3].mean(axis=-1)
    labels = {name: value for name, value in plan.labels.items() if value != 0}
    if len(truth.grid.shape) == 2:
        rows, columns = truth.grid.spacing
        return Scene(deep(gray), deep(wanted), deep(given), (columns, rows, 1.0), labels, flat=True)
    volumes = [to_ras(array, truth.grid.affine) for array in (gray, wanted, given)]
    (voxels, spacing), (wanted, _), (given, _) = volumes
    return Scene(voxels, wanted, given, spacing, labels, flat=False)
