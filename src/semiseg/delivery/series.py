"""Label maps that were predicted as NIfTI of a DICOM series, written as what DICOM has for them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from semiseg import images
from semiseg.dataset.adopt.write import SOURCES
from semiseg.errors import DataError
from semiseg.images.dicom import Series, find_series, read_series
from semiseg.images.grid import times
from semiseg.prediction.assembly import Segmentation
from semiseg.prediction.model import Model
from semiseg.prediction.results import FORMS, WRITERS, Finished, Wanted, forms, require_forms


def series_of_cases(dataset: Path) -> dict[str, tuple[str, str]]:
    """Case -> where its DICOM series was found (relative to what was read) and its SeriesInstanceUID.

    Args:
        dataset: a folder that ``semiseg init`` made; others have no such cases.
    """
    file = dataset / SOURCES
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("role") == "image"]
    found = {row["case"]: (row["source"], row["series_instance_uid"]) for row in reversed(rows)}
    return {case: place for case, place in found.items() if place[1]}


def series_at(pile: Path, source: str, uid: str) -> Series:
    """The series of a case in the folder that the dataset was made of (DataError: it is gone)."""
    place = pile / source
    while not place.exists() and place != pile:  # the rest of the path is inside a zip
        place = place.parent
    for series in find_series(place):
        if series.uid == uid:
            return series
    raise DataError(
        f"the DICOM series of {source} is not in {pile} any more",
        hint="put it back, or predict it with --to dicom-seg where it is now",
        code="NO_SERIES",
    )


def write_as(labels: Path, series: Series, model: Model, folder: Path, to: str | Sequence[str]) -> list[Path]:
    """Write a predicted label map in forms of DICOM, named after it, into ``folder``.

    Args:
        labels: the label map of the series, which has its grid.
        series: that it belongs to; patient and study are taken from its files.
        model: that predicted it: its classes, codes and colors.
        folder: for the results.
        to: of ``semiseg predict --to``.

    Raises:
        UsageError: a form that is unknown, needs a package, or cannot have these classes.
        DataError: the label map lies elsewhere, or the series cannot be referred to.
    """
    wanted = Wanted(to=forms(to))
    require_forms(wanted, model)
    volume, found = read_series(series), images.read_label(labels)
    if not found.grid.matches(volume.grid):
        sizes = [times(grid.shape) for grid in (found.grid, volume.grid)]
        apart = f"{sizes[0]} voxels, wanted {sizes[1]}"
        apart = found.grid.unlike(volume.grid) if sizes[0] == sizes[1] else apart
        raise DataError(
            f"{labels.name} does not lie on the grid of its DICOM series: {apart}",
            hint="predict the series itself with --to dicom-seg",
            code="GRID",
        )
    name = labels.name.removesuffix(images.ending_of(labels) or "")
    scan = Finished(name, Segmentation(found.array), volume.grid, volume.meta, model)
    paths = {form: folder / f"{name}{FORMS[form]}" for form in wanted.dicom}
    for form, path in paths.items():
        WRITERS[form](path, scan)
    return list(paths.values())


def write_all(
    pile: Path, places: dict[str, tuple[str, str]], predictions: Path, model: Model, folder: Path, form: str
) -> Iterator[Path | str]:
    """Each predicted label map of a DICOM series in one form of DICOM: its file, or why there is none.

    ``pile`` is what the dataset was made of, ``places`` are those of :func:`series_of_cases`.
    """
    for labels in sorted(predictions.glob("*.nii.gz")):
        case = labels.name.removesuffix(".nii.gz")
        if case not in places:
            continue
        try:
            yield from write_as(labels, series_at(pile, *places[case]), model, folder, form)
        except DataError as error:
            yield f"{case}: {error.message}"
