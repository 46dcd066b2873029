"""Voxels of a case for the browser: scans, labels, predictions, maps, and how two label maps agree."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg import images
from semiseg.dataset.case import Case, LabeledCase, case_header
from semiseg.errors import UsageError
from semiseg.evaluation.case import evaluate
from semiseg.images.grid import Grid, Volume
from semiseg.labeling.accept import prediction_file
from semiseg.studio.desk import Desk, missing
from semiseg.studio.index import structures
from semiseg.studio.part import PREVIEW, cut
from semiseg.studio.served import as_volume, is_picture

Array = NDArray[Any]


def image_file(desk: Desk, name: str, channel: int, part: str = "") -> Path:
    """One channel of a scan, or a part of it (:func:`semiseg.studio.part.cut`), as the browser gets it.

    Raises:
        UsageError: no such case or channel.
        DataError: it cannot be read.
    """
    case = desk.index.find(name)
    if not 0 <= channel < len(case.images):
        raise missing(f"channel {channel} of {name}")
    source = case.images[channel]

    def make() -> tuple[Array, Grid]:
        volume = _read(source)
        array, grid = as_volume(volume.array, volume.grid, rows_first=is_picture(source, volume.grid))
        return cut(array, grid, part)

    return desk.cache.file(f"image {part}", [source], make, lambda: sampled(desk, case, channel))


def coarse(desk: Desk, name: str, label: Path | None) -> tuple[Path, Path | None]:
    """The first channel of a large scan, and a label map on its grid, with every second voxel or fewer."""
    case = desk.index.find(name)
    sampled(desk, case, 0)  # what the page of the case asks for is made by the same reading
    map_ = None if label is None else _map_file(desk, case, label, "label", PREVIEW)
    return image_file(desk, name, 0, PREVIEW), map_


def label_file(desk: Desk, name: str, version: int | None, part: str = "") -> Path:
    """A version of a label as the browser gets it; None is the one that counts.

    Raises:
        UsageError: there is none; or it is one of a test case in a blind study.
    """
    case = desk.index.find(name)
    if name in desk.labels.test:
        if desk.blind:
            raise UsageError(f"{name}: test labels are hidden", hint="start without --blind", code="BLIND")
        source = case.label if isinstance(case, LabeledCase) else None
    else:
        source = desk.labels.file(name, desk.labels.version(name) if version is None else version)
    if source is None:
        raise missing(f"label of {name}")
    return _map_file(desk, case, source, "label", part)


def prediction_path(desk: Desk, name: str, run: str) -> Path | None:
    """The label map that a run predicted, where there is one."""
    return prediction_file(desk.places.predictions_of(run), name)


def predicted_file(desk: Desk, name: str, run: str | None, kind: str, part: str = "") -> Path:
    """A prediction (``labels``) or its ``entropy`` as the browser gets it (UsageError: there is none)."""
    case, chosen = desk.index.find(name), desk.run_named(run)
    source = prediction_path(desk, name, chosen)
    if kind == "entropy" and source is not None:
        record = desk.index.record(chosen, name) or {}
        written = record.get("outputs", {}).get("entropy")
        source = source.with_name(Path(str(written)).name) if written else None
    if source is None or not source.is_file():
        raise missing(f"prediction of {name} by {chosen}")
    return _map_file(desk, case, source, kind, part)


def difference_file(desk: Desk, name: str, run: str | None, part: str = "") -> Path:
    """Where label and prediction differ: 1 only the label, 2 only the prediction, 3 another class."""
    label = label_file(desk, name, None, part)
    prediction = predicted_file(desk, name, run, "labels", part)

    def make() -> tuple[Array, Grid]:
        ours, theirs = images.read_label(label), images.read_label(prediction)
        a, b = ours.array, theirs.array
        found = np.zeros(a.shape, np.uint8)
        found[(a != 0) & (b == 0)], found[(a == 0) & (b != 0)] = 1, 2
        found[(a != 0) & (b != 0) & (a != b)] = 3
        return found, ours.grid

    return desk.cache.file("difference", [label, prediction], make)


def agreement(desk: Desk, name: str, run: str) -> dict[str, Any] | None:
    """Dice of a run's prediction with the label of a case; None where one of them is missing."""
    case, prediction = desk.index.find(name), prediction_path(desk, name, run)
    if prediction is None or not isinstance(case, LabeledCase):
        return None
    label = images.read_label(case.label)
    found = dice_of(desk, images.read_label(prediction).array, label.array, label.grid)
    known = [value for value in found.values() if value is not None]
    return {"run": run, "mean": float(np.mean(known)) if known else None, "classes": found}


def dice_of(desk: Desk, prediction: Array, label: Array, grid: Grid) -> dict[str, float | None]:
    """Dice per class or region; None where neither map has it."""
    values = structures(desk.labels)
    found = evaluate(
        prediction, label, grid.spacing, values, distances=False, ignore=desk.labels.dataset.ignore_value
    )
    dice = {key: metrics["Dice"] for key, metrics in found.items()}
    return {key: None if value != value else round(value, 4) for key, value in dice.items()}


def sampled(
    desk: Desk, case: Case, channel: int, percentiles: tuple[float, float] = (0.5, 99.5)
) -> tuple[float, float]:
    """Intensities shown as black and as white: percentiles of a channel."""
    path = case.images[channel]
    found = desk.cache.facts("percentiles", path, lambda: _percentiles(_read(path).array))
    return found[PERCENTS.index(percentiles[0])], found[PERCENTS.index(percentiles[1])]


PERCENTS = (0.0, 0.5, 5.0, 95.0, 99.5, 100.0)


def _percentiles(array: Array) -> list[float]:
    step = max(1, int((array.size / 2**20) ** (1 / 3)))
    part = array[tuple(slice(None, None, step) for _ in range(min(array.ndim, 3)))]
    part = part[np.isfinite(part)] if part.dtype.kind == "f" else part
    if part.size == 0:
        return [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    return [float(v) for v in np.percentile(part, PERCENTS)]


_reading = threading.Lock()


def _read(path: Path) -> Volume:
    """The voxels of a scan; those of the newest one stay in memory, as its page asks for several parts."""
    state = path.stat()
    with _reading:  # a large one takes a second: not twice, and not two at once
        return _last_read(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1)
def _last_read(path: Path, size: int, time: int) -> Volume:
    return images.read(path)


def _map_file(desk: Desk, case: Case, source: Path, what: str, part: str) -> Path:
    def make() -> tuple[Array, Grid]:
        grid = case_header(case).grid
        volume = images.read(source) if what == "entropy" else images.read_label(source)
        array = volume.array
        if what == "entropy":
            array = array.astype(np.float32) / (65535 if array.dtype.kind == "u" else 1)
        return cut(*as_volume(array, grid, rows_first=is_picture(case.images[0], grid)), part)

    return desk.cache.file(f"{what} {part}", [source, case.images[0]], make)
