"""The metrics of one case: a predicted and a reference label map on the same grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError, UsageError
from semiseg.evaluation import conventions
from semiseg.evaluation.conventions import Convention, Empty
from semiseg.evaluation.surface import Distances, Mask, SurfaceDistances, distances_in_box, joint_box

Labels = NDArray[Any]
ClassMetrics = dict[str, float]
Value = int | Sequence[int]
"""Of a class in label maps; a region has several."""

OVERLAP = ("Dice", "Jaccard", "NSD")
"""In [0, 1], higher is better."""
DISTANCES = ("HD95", "HD95Max", "ASD", "ASDReverse", "ASSD")
"""In the convention's unit, lower is better."""
VOLUME = ("VolumeError", "VolumeErrorML")
"""Signed, nearest to 0 is best."""
COUNTS = ("TP", "FP", "FN", "TN", "n_pred", "n_ref")
"""Voxels."""
METRICS = ("Dice", "Jaccard", *DISTANCES, "NSD", *VOLUME, *COUNTS)
"""Every metric, in the order of the tables."""

NSD_SLACK_MM = 1e-5
"""Float noise allowed at the tolerance of NSD, so that 10 x 0.1 mm is within 1 mm."""


class Counts(NamedTuple):
    """Voxels of one class; ``total`` leaves ignored voxels out."""

    tp: int
    n_pred: int
    n_ref: int
    total: int


class Scale(NamedTuple):
    """What turns voxels into millimeters: the whole volume's shape and its spacing."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str = "mm"
    """``px`` where no file says how large a pixel is; the spacing then counts pixels."""

    @property
    def voxel_ml(self) -> float:
        """The volume of a voxel in mL; NaN in 2D, and where no file says its size."""
        known = len(self.spacing) == 3 and self.unit == "mm"
        return math.prod(self.spacing) / 1000 if known else math.nan

    def in_unit(self, convention: Convention) -> tuple[float, ...]:
        """The spacing that the convention's distances use."""
        return self.spacing if convention.unit == "mm" else (1.0,) * len(self.spacing)

    def diagonal(self, convention: Convention) -> float:
        """The diagonal of the volume in the convention's unit."""
        edges = (n * s for n, s in zip(self.shape, self.in_unit(convention), strict=True))
        return math.hypot(*edges)


def evaluate(
    prediction: Labels,
    reference: Labels,
    spacing: Sequence[float],
    labels: Mapping[str, Value],
    convention: str = "semiseg",
    nsd_tolerance_mm: float = 1.0,
    ignore: int | None = None,
    distances: bool = True,
    unit: str = "mm",
) -> dict[str, ClassMetrics]:
    """Compare two label maps, class by class.

    Args:
        prediction: (*S) integers, two or three axes.
        reference: (*S) integers on the same grid.
        spacing: millimeters between voxel centers along each array axis.
        labels: class name -> value, or the values of a region; the value 0 is background, without metrics.
        convention: how distances and empty masks count (:mod:`semiseg.evaluation.conventions`).
        nsd_tolerance_mm: of the surface Dice (NSD), in millimeters under every convention.
        ignore: reference voxels of this value are left out of both masks and of every count.
        distances: False skips every surface metric, for speed.
        unit: of the spacing; ``px`` where no file says how large a pixel is.

    Returns:
        class name -> the metrics of :data:`METRICS`; NaN is not defined. Surface metrics are absent where
        they are skipped, or the convention has none. An empty mask is visible in ``n_pred`` and ``n_ref``.

    Raises:
        DataError: the two shapes differ, or the spacing has another length or is not positive.
        UsageError: unknown convention, or a negative tolerance.
    """
    rule = conventions.find(convention, distances=distances)
    scale = _scale(prediction, reference, spacing)._replace(unit=unit)
    check_tolerance(nsd_tolerance_mm)
    total = reference.size
    if ignore is not None:
        known = reference != ignore
        total = int(np.count_nonzero(known))
        prediction, reference = np.where(known, prediction, 0), np.where(known, reference, 0)
    classes = {name: value for name, value in labels.items() if value not in (0, ignore)}
    boxes = class_boxes(prediction, reference, sorted({v for c in classes.values() for v in values_of(c)}))
    result = {}
    for name, value in classes.items():
        box: Box | None = None
        for part in values_of(value):
            box = _union(box, boxes[part])
        counts, surfaces = Counts(0, 0, 0, total), None
        if box is not None:
            ours, theirs = (mask_of(array[box], value) for array in (prediction, reference))
            counts = _count(ours, theirs, total)
            if rule.distances and counts.n_pred and counts.n_ref:
                surfaces = Surfaces.of(ours, theirs, scale, rule)
        result[name] = class_metrics(counts, surfaces, scale, rule, nsd_tolerance_mm)
    return result


def values_of(value: Value) -> tuple[int, ...]:
    """All values of a class or region."""
    return tuple(value) if isinstance(value, Sequence) else (value,)


def mask_of(labels: Labels, value: Value) -> Mask:
    """Where a class or region is."""
    first, *others = values_of(value)
    mask: Mask = np.isin(labels, [first, *others]) if others else labels == first
    return mask


def check_tolerance(nsd_tolerance_mm: float) -> None:
    """Refuse a tolerance that is negative or no number (UsageError)."""
    if not nsd_tolerance_mm >= 0 or math.isinf(nsd_tolerance_mm):
        raise UsageError(f"the NSD tolerance is {nsd_tolerance_mm} mm", hint="give a number >= 0")


class Surfaces(NamedTuple):
    """The distances of one class, in the convention's unit and in millimeters (for NSD)."""

    in_unit: SurfaceDistances
    mm: SurfaceDistances

    @classmethod
    def of(cls, prediction: Mask, reference: Mask, scale: Scale, rule: Convention) -> Surfaces:
        """Measure once where both units agree up to a factor, and twice for anisotropic voxel distances."""
        found = distances_in_box(prediction, reference, scale.in_unit(rule))
        if rule.unit == "mm":
            return cls(found, found)
        if len(set(scale.spacing)) == 1:
            step = scale.spacing[0]
            return cls(found, SurfaceDistances(found.to_reference * step, found.to_prediction * step))
        return cls(found, distances_in_box(prediction, reference, scale.spacing))


def class_metrics(
    counts: Counts, surfaces: Surfaces | None, scale: Scale, rule: Convention, nsd_tolerance_mm: float
) -> ClassMetrics:
    """All metrics of one class from what was counted and measured (``surfaces`` None: a mask is empty)."""
    tp, n_pred, n_ref, total = counts
    values = _overlap(counts, rule)
    if rule.distances:
        if surfaces is None:
            values |= _empty_distances(empty_rule(counts, rule), scale.diagonal(rule))
        else:
            values |= _distances(surfaces.in_unit, rule)
            values["NSD"] = _nsd(surfaces.mm, nsd_tolerance_mm)
    values["VolumeError"] = (n_pred - n_ref) / n_ref if n_ref else math.nan
    values["VolumeErrorML"] = (n_pred - n_ref) * scale.voxel_ml
    numbers = (tp, n_pred - tp, n_ref - tp, total - n_pred - n_ref + tp, n_pred, n_ref)
    values |= {name: float(n) for name, n in zip(COUNTS, numbers, strict=True)}
    return {name: values[name] for name in METRICS if name in values}


def empty_rule(counts: Counts, rule: Convention) -> Empty | None:
    """What the convention says of these masks, or None when neither is empty."""
    if counts.n_pred and counts.n_ref:
        return None
    if counts.n_ref:
        return rule.empty_prediction
    return rule.empty_reference if counts.n_pred else rule.both_empty


def _overlap(counts: Counts, rule: Convention) -> ClassMetrics:
    empty = empty_rule(counts, rule)
    if empty is not None:
        return {"Dice": empty.overlap, "Jaccard": empty.overlap}
    both = counts.n_pred + counts.n_ref
    return {"Dice": 2 * counts.tp / both, "Jaccard": counts.tp / (both - counts.tp)}


def _empty_distances(empty: Empty | None, diagonal: float) -> ClassMetrics:
    if empty is None:
        return {}
    hd95 = diagonal if empty.hd95 == conventions.DIAGONAL else float(empty.hd95)
    asd = diagonal if empty.asd == conventions.DIAGONAL else float(empty.asd)
    return {"HD95": hd95, "HD95Max": hd95, "ASD": asd, "ASDReverse": asd, "ASSD": asd, "NSD": empty.nsd}


def _distances(found: SurfaceDistances, rule: Convention) -> ClassMetrics:
    there, back = found
    forward, backward = float(there.mean()), float(back.mean())
    assd = (forward + backward) / 2
    if rule.assd == "pooled":
        assd = float((there.sum() + back.sum()) / (there.size + back.size))
    if rule.asd == "symmetric":
        forward = backward = assd
    larger = max(float(np.percentile(d, 95)) for d in found)
    hd95 = larger
    if rule.hd95 == "pooled":
        hd95 = float(np.percentile(np.concatenate(found), 95))
    elif rule.hd95 == "max-rank":
        hd95 = max(_ranked(d) for d in found)
    return {"HD95": hd95, "HD95Max": larger, "ASD": forward, "ASDReverse": backward, "ASSD": assd}


def _ranked(distances: Distances) -> float:
    rank = int(distances.size * 0.95)
    return float(np.partition(distances, rank)[rank])


def _nsd(mm: SurfaceDistances, tolerance: float) -> float:
    near = sum(int(np.count_nonzero(d <= tolerance + NSD_SLACK_MM)) for d in mm)
    return near / sum(d.size for d in mm)


def _count(prediction: Mask, reference: Mask, total: int) -> Counts:
    return Counts(
        tp=int(np.count_nonzero(prediction & reference)),
        n_pred=int(np.count_nonzero(prediction)),
        n_ref=int(np.count_nonzero(reference)),
        total=total,
    )


def _scale(prediction: Labels, reference: Labels, spacing: Sequence[float]) -> Scale:
    if prediction.shape != reference.shape:
        raise DataError(
            f"the prediction has shape {prediction.shape}, the reference {reference.shape}",
            hint="both must lie on the same grid; resample the prediction to the reference",
            code="GRID_MISMATCH",
        )
    steps = tuple(float(s) for s in spacing)
    if len(steps) != reference.ndim or not all(s > 0 and math.isfinite(s) for s in steps):
        raise DataError(
            f"spacing {steps} does not fit an image of shape {reference.shape}",
            hint="one positive number of mm for each axis",
            code="BAD_SPACING",
        )
    return Scale(tuple(reference.shape), steps)


Box = tuple[slice, ...]

MANY = 3
"""From so many classes on, one pass over the volume is faster than one per class."""
LARGEST = 2**15
"""The one pass makes a list as long as the largest value."""


def class_boxes(first: Labels, second: Labels, values: Sequence[int]) -> Mapping[int, Box | None]:
    """For each value the smallest box that holds it in both label maps; None where neither has it."""
    one_pass = len(values) >= MANY and min(values) > 0 and max(values) <= LARGEST
    if not one_pass or first.dtype.kind not in "iu" or second.dtype.kind not in "iu":
        return {value: joint_box(first == value, second == value) for value in values}
    whole = joint_box(first != 0, second != 0)
    if whole is None:
        return dict.fromkeys(values)
    from scipy import ndimage

    found: list[Sequence[Box | None]] = [
        ndimage.find_objects(np.ascontiguousarray(labels[whole]), max(values)) for labels in (first, second)
    ]
    offsets = [edge.start for edge in whole]
    return {value: _shifted(_union(*(boxes[value - 1] for boxes in found)), offsets) for value in values}


def _union(first: Box | None, second: Box | None) -> Box | None:
    if first is None or second is None:
        return first or second
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True)
    )


def _shifted(box: Box | None, offsets: Sequence[int]) -> Box | None:
    if box is None:
        return None
    return tuple(slice(e.start + by, e.stop + by) for e, by in zip(box, offsets, strict=True))
