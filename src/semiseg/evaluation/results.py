"""What an evaluation found: every case, the failures, and means: over cases first, then over classes."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from semiseg.drawing.notebook import Tabular
from semiseg.errors import DataError, PartialError, plural, unknown_name
from semiseg.evaluation import conventions
from semiseg.evaluation.case import (
    COUNTS,
    METRICS,
    ClassMetrics,
    Counts,
    Labels,
    Scale,
    Value,
    check_tolerance,
    class_metrics,
    evaluate,
    values_of,
)
from semiseg.machine.files import printable

log = logging.getLogger("semiseg.metrics")


class HasSpacing(Protocol):
    """All that is asked of a grid here: :class:`semiseg.images.grid.Grid` has it."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimeters along each array axis."""


@dataclass(frozen=True)
class Counting:
    """How to count, the same for every case; see :func:`semiseg.evaluation.case.evaluate`.

    Raises:
        UsageError: unknown convention, or a negative tolerance.
    """

    convention: str = "semiseg"
    nsd_tolerance_mm: float = 1.0
    ignore: int | None = None
    distances: bool = True
    labeled_classes: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Case -> the classes that its reference is of, where these are not all."""

    def __post_init__(self) -> None:
        conventions.find(self.convention)
        check_tolerance(self.nsd_tolerance_mm)


@dataclass(frozen=True)
class CaseScores:
    """One case: class name -> metrics, and where its two label maps came from."""

    case: str
    metrics: Mapping[str, ClassMetrics]
    scale: Scale
    total: int
    """Voxels that were compared (without ignored ones)."""
    background: Counts
    """The counts of the background: every voxel that no class has."""
    reference_file: str | None = None
    prediction_file: str | None = None


@dataclass(frozen=True)
class Evaluation(Tabular):
    """The metrics of several cases.

    Attributes:
        cases: those that could be compared, in the order given.
        labels: class name -> value, foreground only; of a region its values.
        convention: the name of the counting rule.
        nsd_tolerance_mm: the tolerance of NSD.
        failed: case -> message, for cases that could not be compared (missing predictions included).
        missing: cases with a reference and no prediction.
        extra: cases with a prediction and no reference; they are reported, not failed.
        notices: what a reader of the numbers should know.
        spacing_unit: ``px`` where no file of any case says how large its pixels are.
        groups: case -> patient, video or center, where scores by group are asked for.
    """

    cases: tuple[CaseScores, ...]
    labels: Mapping[str, Value]
    convention: str = "semiseg"
    nsd_tolerance_mm: float = 1.0
    failed: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    spacing_unit: str = "mm"
    groups: Mapping[str, str] = field(default_factory=dict)

    shown_by = "semiseg.evaluation.tables"

    def rows(self, label: str) -> list[ClassMetrics]:
        """The metrics of one class, one entry per case."""
        return [dict(case.metrics[label]) for case in self.cases]

    def stats(self, metric: str, label: str) -> Stats:
        """Mean, SD and number of defined values of one metric of one class.

        Raises:
            UsageError: there is no such metric or class.
        """
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
        if label not in self.labels:
            raise unknown_name("class", label, self.labels)
        return statistics(row[metric] for row in self.rows(label) if metric in row)

    def class_means(self, metric: str) -> dict[str, float]:
        """Class name -> mean over cases; NaN for a class that no case defines."""
        return {label: self.stats(metric, label).mean for label in self.labels}

    def mean(self, metric: str = "Dice") -> float:
        """The mean of the class means over the foreground classes.

        A class without a mean is left out, or makes the whole mean NaN where the convention says so.
        """
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
        rule = conventions.find(self.convention)
        return over_classes(self.class_means(metric).values(), rule.undefined_class)

    def dataset_iou(self, background: bool = False) -> dict[str, float]:
        """Class name -> intersection over union of the voxels of all cases together (dataset-level IoU).

        Their mean is the mIoU of tables such as those of CaDIS or Cityscapes. A large case weighs more than a
        small one, and a class counts once however few cases have it.

        Args:
            background: whether the background is a class, too (first, under the name ``background``).

        Returns:
            values in [0, 1]; NaN for a class that no label map of any case has.
        """
        counts = {
            name: np.sum([(row["TP"], row["n_pred"], row["n_ref"]) for row in self.rows(name)], axis=0)
            for name in self.labels
        }
        if background:
            counts = {"background": np.sum([case.background[:3] for case in self.cases], axis=0)} | counts
        return {name: _iou(found) for name, found in counts.items()}

    def empties(self, label: str) -> dict[str, int]:
        """How many cases had an empty mask of the class, by kind."""
        masks = Counter((row["n_pred"] > 0, row["n_ref"] > 0) for row in self.rows(label))
        return {
            "both_empty": masks[False, False],
            "empty_prediction": masks[False, True],
            "empty_reference": masks[True, False],
            "neither_empty": masks[True, True],
        }

    @property
    def unit(self) -> str:
        """The unit of HD95, ASD and ASSD: ``mm`` (``px`` where no file has a spacing) or ``voxel``."""
        rule = conventions.find(self.convention).unit
        return self.spacing_unit if rule == "mm" else rule

    def problem(self) -> PartialError | None:
        """The error to end a command with when some cases failed, or None."""
        if not self.failed:
            return None
        first, message = next(iter(self.failed.items()))
        return PartialError(
            f"{len(self.failed)} of {plural(len(self.failed) + len(self.cases), 'case')} could not be "
            f"evaluated; {first}: {message}",
            hint="the other cases are evaluated and saved; summary.json lists every failure",
            code="CASES_FAILED",
            details={"failed": dict(self.failed)},
        )


def completed(result: CaseScores, labels: Iterable[str], count: Counting) -> CaseScores:
    """The same case with an entry for every class: one that neither map holds is empty in both."""
    nothing = Counts(tp=0, n_pred=0, n_ref=0, total=result.total)
    rule = conventions.find(count.convention, distances=count.distances)
    empty = class_metrics(nothing, None, result.scale, rule, count.nsd_tolerance_mm)
    return replace(result, metrics={label: result.metrics.get(label) or empty for label in labels})


def _iou(counts: Any) -> float:
    """Of summed (TP, n_pred, n_ref); NaN without voxels, and without cases (a scalar 0)."""
    if np.ndim(counts) == 0:
        return math.nan
    tp, n_pred, n_ref = (float(n) for n in counts)
    union = n_pred + n_ref - tp
    return tp / union if union else math.nan


def foreground(labels: Mapping[str, Value], ignore: int | None = None) -> dict[str, Value]:
    """The classes that get metrics: all but background (0) and the ignore value."""
    found = {name: tuple(map(int, values_of(value))) for name, value in labels.items()}
    return {n: v if len(v) > 1 else v[0] for n, v in found.items() if v not in ((0,), (ignore,))}


def evaluate_pairs(
    pairs: Iterable[tuple[str, Labels, Labels, HasSpacing]],
    labels: Mapping[str, Value],
    *,
    convention: str = "semiseg",
    nsd_tolerance_mm: float = 1.0,
    ignore: int | None = None,
    distances: bool = True,
    labeled_classes: Mapping[str, Collection[str]] | None = None,
) -> Evaluation:
    """Evaluate label maps in memory, as validation during training does.

    ``pairs`` are (case, prediction (*S), reference (*S), grid); of a generator one case is held at a time.
    ``labels`` are those of :func:`semiseg.evaluation.case.evaluate`, as is the rest. ``labeled_classes`` are
    the classes that a case's reference is of, where these are not all: the others have no score there.

    Returns:
        The evaluation; a case that cannot be compared is in ``failed`` and does not stop the others.

    Raises:
        UsageError: unknown convention, or a negative tolerance.
    """
    count = Counting(convention, nsd_tolerance_mm, ignore, distances, labeled_classes or {})
    classes = foreground(labels, ignore)
    results: list[CaseScores] = []
    failed: dict[str, str] = {}
    for case, prediction, reference, grid in pairs:
        try:
            results.append(compared(case, prediction, reference, grid, classes, count))
        except DataError as error:
            log.warning("case %s: %s", case, error.message)
            failed[case] = error.message
    unit, notices = spacing_unit(results)
    return Evaluation(
        tuple(results), classes, convention, nsd_tolerance_mm, failed, notices=notices, spacing_unit=unit
    )


def compared(
    case: str,
    prediction: Labels,
    reference: Labels,
    grid: HasSpacing,
    classes: Mapping[str, Value],
    count: Counting,
    files: tuple[Path, Path] | None = None,
) -> CaseScores:
    """The metrics of one case; ``files`` are (reference, prediction).

    Raises:
        DataError: see :func:`semiseg.evaluation.case.evaluate`.
    """
    unit, ignore = getattr(grid, "unit", "mm"), count.ignore
    rule = (count.convention, count.nsd_tolerance_mm, ignore, count.distances, unit)
    metrics = evaluate(prediction, reference, grid.spacing, classes, *rule)
    for name in set(metrics).difference(count.labeled_classes.get(case, metrics)):
        metrics[name] = {metric: 0.0 if metric in COUNTS else math.nan for metric in metrics[name]}
    values = sorted({v for value in classes.values() for v in values_of(value)})
    ours, theirs = (~np.isin(labels, values) for labels in (prediction, reference))
    total = int(reference.size)
    if ignore is not None:
        known = reference != ignore
        ours, theirs = ours & known, theirs & known
        total = int(np.count_nonzero(known))
    tp, n_pred, n_ref = (int(np.count_nonzero(mask)) for mask in (ours & theirs, ours, theirs))
    return CaseScores(
        case=case,
        metrics=metrics,
        scale=Scale(tuple(reference.shape), tuple(float(s) for s in grid.spacing), unit),
        total=total,
        background=Counts(tp, n_pred, n_ref, total),
        reference_file=printable(str(files[0])) if files else None,
        prediction_file=printable(str(files[1])) if files else None,
    )


def spacing_unit(cases: Iterable[CaseScores]) -> tuple[str, tuple[str, ...]]:
    """The unit of the cases' spacing, and a notice where they differ and ``mm`` is taken."""
    units = [case.scale.unit for case in cases]
    count = units.count("px")
    if count in (0, len(units)):
        return ("px" if count else "mm"), ()
    return "mm", (
        f"{count} of {plural(len(units), 'case has', 'cases have')} no spacing: a pixel of theirs counts as "
        "1 mm",
    )


def each_value(evaluation: Evaluation) -> Iterator[tuple[CaseScores, str, str, ClassMetrics]]:
    """(case, class, label value, metrics), case by case."""
    for case in evaluation.cases:
        for label, value in evaluation.labels.items():
            yield case, label, key_of(value), dict(case.metrics[label])


def key_of(value: Value) -> str:
    """A class in summary.json: ``3``, or ``(1, 2, 3)`` for a region, as nnU-Net writes it."""
    values = values_of(value)
    return str(values) if len(values) > 1 else str(values[0])


AGGREGATION = (
    "Every metric is computed per case and class on the whole volume. 'mean' is the mean over cases for each "
    "class and 'foreground_mean' the mean of those class means over the foreground classes. Undefined values "
    "(null) are left out of a mean and counted: 'counted' says how many cases each mean holds. "
    "'dataset_level' is computed from the voxels of all cases together."
)


class Stats(NamedTuple):
    """The values of one metric over cases."""

    mean: float
    sd: float
    """Of the sample (n - 1); NaN for fewer than two values."""
    counted: int
    """How many values were defined."""


def statistics(values: Iterable[float]) -> Stats:
    """Mean and SD of the values that are not NaN; NaN when there are none, never a warning."""
    known = np.array([v for v in values if not math.isnan(v)], dtype=np.float64)
    if not known.size:
        return Stats(math.nan, math.nan, 0)
    spread = math.nan
    if known.size > 1 and np.isfinite(known).all():
        spread = float(known.std(ddof=1))
    return Stats(float(known.mean()), spread, int(known.size))


def over_classes(class_means: Iterable[float], undefined_class: str) -> float:
    """The mean of class means; a NaN among them is left out, or makes the mean NaN (``undefined_class``)."""
    means = list(class_means)
    if undefined_class == "nan" and any(math.isnan(mean) for mean in means):
        return math.nan
    return statistics(means).mean
