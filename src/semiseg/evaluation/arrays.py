"""Scores of label maps, wherever they are: in folders and files, or in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError, UsageError
from semiseg.evaluation.case import Value
from semiseg.evaluation.evaluate import evaluate_folders
from semiseg.evaluation.files import distinct
from semiseg.evaluation.results import Evaluation, evaluate_pairs
from semiseg.images.grid import Grid, turned
from semiseg.images.memory import Held, hold

if TYPE_CHECKING:
    from semiseg.evaluation.evaluate import Labeling


def evaluate(
    reference: Any,
    prediction: Any,
    *,
    spacing: Sequence[float] | None = None,
    dataset: Labeling | str | Path | None = None,
    labels: Mapping[str, Value] | None = None,
    convention: str = "semiseg",
    nsd_tolerance_mm: float = 1.0,
    distances: bool = True,
    allow_missing: bool = False,
    cases: Collection[str] | None = None,
    group: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compare predicted label maps with references: folders, files, arrays or images in memory.

    Args:
        reference: a folder of label maps or a file; or an array (*S) of whole numbers, a nibabel or a
            SimpleITK image; or a mapping case -> array or image.
        prediction: the same kind of thing.
        spacing: mm along each axis of arrays; without it, distances are in voxels of 1 x 1 x 1.
        dataset: for folders and files: a dataset (or a folder with a ``dataset.json``) whose class names,
            ignore value and ``label_map`` are used; None: the ``dataset.json`` beside ``labels*`` references.
        labels: class name -> value, or the values of a region; the name ``ignore`` marks the ignore value.
            Without it, every value found is a class named by its number.
        convention: how distances and empty masks count (:mod:`semiseg.evaluation.conventions`).
        nsd_tolerance_mm: the tolerance of NSD.
        distances: False skips the surface metrics.
        allow_missing: for folders: cases without a prediction do not fail.
        cases: for folders: ids of the cases to compare.
        group: also score by group: ``patient``, a key of ``cases`` in dataset.json (``center``), a number of
            leading characters of case names, or a regular expression with one group.
        workers: for folders: threads.
        progress: for folders: called with (cases done, all cases) after each case.

    Returns:
        The evaluation; ``.mean("Dice")``, ``.rows("tumor")``, ``.to_frame()``.

    Raises:
        UsageError: a path against an array, an unknown convention or a bad tolerance.
        DataError: label maps on different grids, or values that are not whole numbers.
    """
    how: dict[str, Any] = {"convention": convention, "nsd_tolerance_mm": nsd_tolerance_mm}
    how["distances"] = distances
    paths = [isinstance(given, str | Path) for given in (reference, prediction)]
    if all(paths):
        if spacing is not None:
            raise UsageError("files have their own spacing", hint="leave out spacing", code="CONTRADICTION")
        return evaluate_folders(
            reference,
            prediction,
            dataset=dataset,
            labels=labels,
            **how,
            allow_missing=allow_missing,
            cases=cases,
            group=group,
            workers=workers,
            progress=progress,
        )
    if group is not None:
        raise UsageError("groups are of folders", hint="leave out group", code="CONTRADICTION")
    if any(paths):
        raise UsageError(
            f"got a {type(reference).__name__} and a {type(prediction).__name__}",
            hint="give two paths, or two arrays or images",
        )
    pairs = [
        (case, *_pair(case, wanted, given, spacing)) for case, wanted, given in _cases(reference, prediction)
    ]
    named = labels or getattr(dataset, "regions", None) or getattr(dataset, "labels", None)
    if named is None:
        values = sorted(set().union(*(distinct(a) | distinct(b) for _, a, b, _ in pairs)) - {0})
        named = {str(value): value for value in values}
    ignore = getattr(dataset, "ignore_value", None) if labels is None else labels.get("ignore")
    found = evaluate_pairs(
        pairs,
        {name: value for name, value in named.items() if name != "ignore"},
        ignore=None if ignore is None else int(np.atleast_1d(ignore)[0]),
        **how,
    )
    if found.failed and not found.cases:
        raise DataError(
            next(iter(found.failed.values())), hint="both must have one shape", code="GRID_MISMATCH"
        )
    return found


def _cases(reference: Any, prediction: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(reference, Mapping) != isinstance(prediction, Mapping):
        raise UsageError("got a mapping and a single label map", hint="give two of one kind")
    if not isinstance(reference, Mapping):
        return [("case", reference, prediction)]
    missing = sorted(set(reference) ^ set(prediction))
    if missing:
        raise UsageError(f"only one of the two has {missing[0]}", hint="give both for every case")
    return [(str(case), reference[case], prediction[case]) for case in reference]


def _pair(
    case: str, reference: Any, prediction: Any, spacing: Sequence[float] | None
) -> tuple[NDArray[Any], NDArray[Any], Grid]:
    """Prediction and reference, on the reference's grid."""
    given = {"reference": reference, "prediction": prediction}
    held = {name: _held(image, spacing) for name, image in given.items()}
    truth, guess = held["reference"], held["prediction"]
    array = guess.array
    if not guess.grid.matches(truth.grid) and guess.grid.unit == truth.grid.unit == "mm":
        found = turned(guess.array, guess.grid, truth.grid)
        if found is None:
            raise DataError(
                f"{case}: prediction and reference lie on different grids ({guess.grid.unlike(truth.grid)})",
                hint="resample the prediction to the grid of the reference",
                code="GRID_MISMATCH",
            )
        array = found
    return _whole(array, case, "prediction"), _whole(truth.array, case, "reference"), truth.grid


def _held(image: Any, spacing: Sequence[float] | None) -> Held:
    own = hasattr(image, "dataobj") or hasattr(image, "GetDirection")
    return hold(image, spacing=None if own else spacing)


def _whole(array: NDArray[Any], case: str, what: str) -> NDArray[Any]:
    if array.dtype.kind in "iu":
        return array
    whole = array.astype(np.int64)
    if not np.array_equal(whole, array):
        raise DataError(
            f"{case}: the {what} holds values that are not whole numbers",
            hint="give the label map, not the probabilities",
            code="LABEL_VALUES",
        )
    return whole
