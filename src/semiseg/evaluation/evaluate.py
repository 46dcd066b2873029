"""Scores of label maps on disk against references; a case that cannot be read does not stop the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from semiseg.drawing.notebook import notebook_bar
from semiseg.errors import DataError, SemisegError, plural, some
from semiseg.evaluation.case import Value, values_of
from semiseg.evaluation.files import Recoded, declared_values, pair_files, settle_references
from semiseg.evaluation.groups import groups_of
from semiseg.evaluation.results import (
    CaseScores,
    Counting,
    Evaluation,
    compared,
    completed,
    foreground,
    spacing_unit,
)
from semiseg.machine.files import json_object, printable
from semiseg.machine.hardware import cores

if TYPE_CHECKING:
    from semiseg.dataset.dataset import Dataset
    from semiseg.dataset.description import Description
    from semiseg.images.grid import Volume
    from semiseg.preparation.plan import Plan

    Labeling = Dataset | Description | Plan
    """What knows its classes, and the values of label files."""

log = logging.getLogger("semiseg.evaluation")


@dataclass(frozen=True)
class _Classes:
    """What the values of the files mean. ``labels`` None: whatever values are found."""

    labels: Mapping[str, Value] | None = None
    ignore: int | None = None
    reference_map: Mapping[int, int] = field(default_factory=dict)
    prediction_map: Mapping[int, int] = field(default_factory=dict)
    recoded: Recoded = field(default_factory=Recoded)
    labeled_classes: Mapping[str, Collection[str]] = field(default_factory=dict)


def evaluate_folders(
    reference: str | Path,
    prediction: str | Path,
    *,
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
    """Compare a folder of predictions with a folder of references, or one file with another.

    Cases are matched by name without the ending, so that ``case_01.nii.gz`` meets ``case_01.nrrd``. A case
    that is missing, unreadable or on another grid is reported in ``failed`` and does not stop the others; end
    a command with :meth:`Evaluation.problem`. The keywords are those of :func:`semiseg.evaluate`.

    Returns:
        The evaluation of all cases that could be compared, by case id.

    Raises:
        UsageError: a path that does not exist, a file against a folder, an unknown convention or a bad
            tolerance.
        DataError: no label map in a folder, no case in common, a broken ``dataset.json``.
    """
    count = Counting(convention, nsd_tolerance_mm, distances=distances)
    progress = progress or notebook_bar("evaluate")
    reference, prediction = Path(reference), Path(prediction)
    pairs = pair_files(reference, prediction)
    pairs = pairs if cases is None else pairs.only(cases)
    root = _root(dataset, reference)
    groups = {} if group is None else groups_of(pairs.files, group, root)
    classes, notices = _classes(dataset, root, labels, reference)
    notices += _told_of_maps(classes, prediction)
    classes = _with_recoded(classes, settle_references(list(pairs.files.values()), workers))
    notices += classes.recoded.notices
    count = replace(count, ignore=classes.ignore, labeled_classes=classes.labeled_classes)
    outcomes = _run(pairs.files, classes, count, workers, progress)
    results = [o for o in outcomes.values() if isinstance(o, _Compared)]
    found = {str(v): v for v in sorted({v for o in results for v in o.values} - {0})}
    known = foreground(found if classes.labels is None else classes.labels, classes.ignore)
    failed = {**pairs.failed, **{case: o for case, o in outcomes.items() if isinstance(o, str)}}
    if not allow_missing:
        failed |= {case: f"no prediction in {prediction}" for case in pairs.missing}
    unit, mixed = spacing_unit(o.result for o in results)
    return Evaluation(
        cases=tuple(completed(o.result, known, count) for o in results),
        labels=known,
        convention=convention,
        nsd_tolerance_mm=nsd_tolerance_mm,
        failed=dict(sorted(failed.items())),
        missing=pairs.missing,
        extra=pairs.extra,
        notices=(
            *notices,
            *pairs.notices,
            *mixed,
            *_undeclared(results, known, classes),
            *_apart(results, unnamed=classes.labels is None),
            *_extra(pairs.extra),
        ),
        spacing_unit=unit,
        groups=groups,
    )


def _root(dataset: Labeling | str | Path | None, reference: Path) -> Path | None:
    """The folder of the dataset, as far as it is known."""
    from semiseg.dataset.dataset import locate

    if isinstance(dataset, str | Path):
        return Path(dataset).parent if Path(dataset).is_file() else locate(dataset)
    if dataset is not None:
        return getattr(dataset, "root", None)
    folder = reference if reference.is_dir() else reference.parent
    return folder.parent if (folder.parent / "dataset.json").is_file() else None


def _classes(
    dataset: Labeling | str | Path | None,
    root: Path | None,
    labels: Mapping[str, Value] | None,
    reference: Path,
) -> tuple[_Classes, list[str]]:
    """What the values mean, and a notice where a dataset.json was found rather than given."""
    notices: list[str] = []
    if dataset is None and labels is None and root is not None:
        folder = reference if reference.is_dir() else reference.parent
        if folder.name.startswith("labels"):
            dataset = root
            notices.append(f"class names from {root / 'dataset.json'}")
    if isinstance(dataset, str | Path):
        dataset = _described(root or Path(dataset))
    if dataset is None:
        if labels is None:
            return _Classes(), notices
        return _Classes(*_split(labels, None)), notices
    chosen, ignore = _split(labels or dataset.regions or dataset.labels, dataset.ignore_value)
    to_declared = dict(dataset.label_map)
    found = _Classes(chosen, ignore, to_declared, {**to_declared, **_undone(dataset)})
    return replace(found, labeled_classes=getattr(dataset, "labeled_classes", {})), notices


def _with_recoded(classes: _Classes, recoded: Recoded) -> _Classes:
    """The classes of references that hold no class numbers; a dataset's ``label_map`` is not for them."""
    if recoded.recode is None:
        return classes
    given = {**recoded.prediction_map, **classes.prediction_map}
    named = {name: number for number, name in recoded.names.items()} or None
    return replace(
        classes,
        labels=classes.labels or named,
        reference_map={},
        prediction_map=given,
        recoded=recoded,
    )


def _split(labels: Mapping[str, Value], ignore: int | None) -> tuple[dict[str, Value], int | None]:
    """Classes, and the ignore value that is among them or given."""
    classes = dict(labels)
    if "ignore" in classes:
        (ignore,) = values_of(classes.pop("ignore"))
    return classes, ignore


def _described(root: Path) -> Labeling:
    from semiseg.dataset.description import read_description
    from semiseg.dataset.problem import raise_if_any

    description, faults = read_description(root)
    raise_if_any(faults, str(root))
    return description


def _undone(dataset: Labeling) -> dict[int, int]:
    """Value in a prediction that semiseg wrote -> declared value.

    It undoes what prediction did, which is not always the inverse of ``label_map``: where that has none,
    predictions hold declared values.
    """
    from semiseg.preparation.labels import file_values

    if not dataset.label_map:
        return {}
    declared = dict(dataset.labels)
    return dict(zip(file_values(cast("Plan", dataset)), declared.values(), strict=True))


@dataclass(frozen=True)
class _Compared:
    """A case that could be compared, and the values that reference and prediction hold."""

    result: CaseScores
    wanted: frozenset[int]
    given: frozenset[int]

    @property
    def values(self) -> frozenset[int]:
        """Of both files."""
        return self.wanted | self.given


def _run(
    files: dict[str, tuple[Path, Path]],
    classes: _Classes,
    count: Counting,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> dict[str, _Compared | str]:
    """Case -> what came of it, or the message why nothing did."""
    threads = workers or min(8, cores())
    outcomes: dict[str, _Compared | str] = {}
    # Threads, not processes: decompression, look-ups and transforms all release the interpreter's lock.
    with ThreadPoolExecutor(max_workers=max(1, min(threads, len(files)))) as pool:
        waiting = {pool.submit(_attempt, case, *pair, classes, count): case for case, pair in files.items()}
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                outcomes[waiting[future]] = future.result()
                if progress:
                    progress(done, len(files))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {case: outcomes[case] for case in files}


def _attempt(
    case: str, reference: Path, prediction: Path, classes: _Classes, count: Counting
) -> _Compared | str:
    try:
        return _compare(case, reference, prediction, classes, count)
    except SemisegError as error:
        message = error.message
    except Exception as error:  # one bad case must not stop the others
        log.debug("case %s", case, exc_info=True)
        message = f"{type(error).__name__}: {error}"
    log.warning("case %s: %s", case, printable(message))
    return printable(message)


def _compare(case: str, reference: Path, prediction: Path, classes: _Classes, count: Counting) -> _Compared:
    from semiseg.images import read_label

    truth, guess = classes.recoded(read_label(reference)), read_label(prediction)
    guess = _onto(truth, guess, reference, prediction)
    wanted, values = declared_values(truth.array, reference, classes.reference_map)
    given, more = declared_values(guess.array, prediction, classes.prediction_map)
    named = {str(v): v for v in values | more} if classes.labels is None else classes.labels
    labels = foreground(named, classes.ignore)
    result = compared(case, given, wanted, truth.grid, labels, count, (reference, prediction))
    return _Compared(result, frozenset(values), frozenset(more))


def _onto(truth: Volume, guess: Volume, reference: Path, prediction: Path) -> Volume:
    """The prediction on the grid of its reference; axes in another order are turned."""
    from semiseg.images.grid import turned

    for volume, path in ((truth, reference), (guess, prediction)):
        if volume.array.ndim != len(volume.grid.shape):
            raise DataError(
                f"{path} has shape {volume.array.shape}; a label map has one value per voxel",
                hint="write it as a gray-level image whose values are the labels",
                code="NOT_A_LABEL_MAP",
            )
    if truth.grid.matches(guess.grid):
        return guess
    array = turned(guess.array, guess.grid, truth.grid)
    if array is not None:
        return replace(guess, array=array, grid=truth.grid)
    if truth.grid.shape != guess.grid.shape:
        what = f"{prediction} has shape {guess.grid.shape}, its reference {truth.grid.shape}"
    else:
        gap = truth.grid.corner_gap_mm(guess.grid)
        what = f"{prediction} lies up to {gap:.4g} mm away from its reference {reference}"
        what += f" ({guess.grid.unlike(truth.grid)})"
    raise DataError(what, hint="resample the prediction to the grid of the reference", code="GRID_MISMATCH")


def _told_of_maps(classes: _Classes, prediction: Path) -> list[str]:
    """A notice where the values of predictions may be raw or declared, and nothing in them says which."""
    if classes.reference_map:
        declared = list(classes.reference_map.values())
        if len(set(declared)) == len(declared):
            return []
        return [
            "several values of the files mean one class (label_map): references are mapped, predictions "
            "are read as `semiseg predict` writes them: declared values where no raw value alone is the class"
        ]
    folder = prediction if prediction.is_dir() else prediction.parent
    for path in sorted(folder.glob("*.json"))[:3]:
        found = _label_map_of_record(path)
        if found:
            return [
                f"the model mapped the values of its label files ({found}), and no dataset is known here: "
                "give --dataset, or raw values of the references are compared with the model's classes"
            ]
    return []


def _label_map_of_record(path: Path) -> str:
    """The ``label_map`` that a prediction's record names, as text; empty without one."""
    content = json_object(path)
    given = content.get("label_map") if "label_values" in content else None
    return ", ".join(f"{raw} = {value}" for raw, value in given.items()) if isinstance(given, dict) else ""


def _undeclared(results: list[_Compared], labels: Mapping[str, Value], classes: _Classes) -> list[str]:
    """One notice for each value that some file holds and no class has."""
    named = (*labels.values(), *(classes.labels or {}).values())
    known = {0, classes.ignore, *(v for value in named for v in values_of(value))}
    odd = sorted({v for o in results for v in o.values} - known)
    return [
        f"value {v} is in {plural(sum(v in o.values for o in results), 'case')} and is not a declared "
        "class: counted as background"
        for v in odd
    ]


def _apart(results: list[_Compared], *, unnamed: bool) -> list[str]:
    """A notice where references and predictions have no class in common, in any case, or none at all."""
    wanted = frozenset().union(*(o.wanted for o in results)) - {0}
    given = frozenset().union(*(o.given for o in results)) - {0}
    if not wanted and not given:
        empty = f"no class in any file: all {len(results)} references and predictions are empty"
        return [empty] if results else []
    if wanted & given:
        alone = sorted((wanted - given) & {-1, 255})
        return [
            f"value {v} is in references only: scored as a class; if it marks voxels to ignore, give "
            '--dataset with "ignore" and a label_map'
            for v in alone
            if unnamed
        ]
    if not wanted or not given:
        return []
    shown = (", ".join(map(str, sorted(found)[:5])) for found in (wanted, given))
    return [
        "no class in common: references hold {}, predictions {}; if they mean the same, give --dataset with "
        "a label_map".format(*shown)
    ]


def _extra(cases: Sequence[str]) -> list[str]:
    lone = f"{plural(len(cases), 'prediction')} without a reference, not scored: {some(cases)}"
    return [lone] if cases else []
