"""A scan to network input, and what the network says back to the scan's own voxels.

Forward: turn, crop, normalize (at the scan's own resolution), resample. Backward: resample, un-crop, turn.
Where nothing is resampled, labels come back bit for bit.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from semiseg.data.geometry import Box, Geometry, Shape, lay_out
from semiseg.data.labels import file_values, smallest_unsigned, to_classes
from semiseg.data.normalize import normalize
from semiseg.data.plan import Plan
from semiseg.data.resample import kernels_for, resample, resample_classes
from semiseg.data.volume import Grid
from semiseg.errors import DataError

Image = NDArray[np.float32]

__all__ = [
    "Geometry",
    "preprocess_image",
    "preprocess_label",
    "restore_labels",
    "restore_map",
    "restore_probabilities",
    "stored_shape",
]


def stored_shape(grid: Grid, plan: Plan) -> Shape:
    """The stored shape of a scan, from its header alone (an upper bound where the plan crops)."""
    return lay_out(grid, plan).shape


def preprocess_image(image: NDArray[Any], grid: Grid, plan: Plan) -> tuple[Image, Geometry]:
    """Turn, crop, normalize and resample one scan.

    Args:
        image: (C, *S), any numeric type, in file order.
        grid: where the voxels lie; ``grid.shape`` is ``*S``.
        plan: what to make of it.

    Returns:
        (C, T0, T1, T2) float32 (T0 is 1 for a 2D image), and the way back.

    Raises:
        DataError: other channels than planned, NaN or infinite values, a shape that does not fit.
    """
    if image.ndim != len(grid.shape) + 1 or image.shape[1:] != grid.shape:
        raise DataError(
            f"got an image of shape {image.shape}, wanted (channels, {grid.shape})",
            hint="put the channels first, and give the grid that belongs to the image",
            code="SHAPE",
        )
    if len(image) != len(plan.channels):
        names = ", ".join(channel.name for channel in plan.channels)
        raise DataError(
            f"got {len(image)} channels, wanted {len(plan.channels)} ({names})",
            hint="give one file per channel, in the order of channel_names in dataset.json",
            code="CHANNELS",
        )
    whole = lay_out(grid, plan)
    turned = [whole.turn(channel) for channel in image]
    geometry, inside = whole, None
    if plan.crop == "nonzero":
        mask = _any_nonzero(turned)
        geometry = lay_out(grid, plan, _box(mask))
        inside = geometry.crop(mask)
    out = np.empty((len(image), *geometry.shape), np.float32)
    kernels = kernels_for(geometry.source_spacing, geometry.cropped_shape, geometry.shape, "cubic")
    for c, (channel, how) in enumerate(zip(turned, plan.channels, strict=True)):
        _require_finite(channel, how.name)
        clean = normalize(geometry.crop(channel), how, inside)
        if geometry.resampled:  # a cubic filter overshoots at edges; values the scan lacks are cut off
            low, high = clean.min(), clean.max()
            clean = np.clip(resample(clean, geometry.shape, kernels), low, high)
        out[c] = clean
    return out, geometry


def preprocess_label(
    label: NDArray[Any], geometry: Geometry, plan: Plan, *, case: str = ""
) -> NDArray[np.uint8]:
    """Lay a label out like its image.

    Args:
        label: (*S), the values of the file.
        geometry: what :func:`preprocess_image` returned for the image.
        plan: labels, label_map and ignore_value.
        case: named in errors.

    Returns:
        (T0, T1, T2) uint8: classes 0..K-1 in the order of ``plan.labels``, 255 for ignored voxels. Each
        class is resampled linearly on its own; the largest share wins.

    Raises:
        DataError: another shape than the image's, or a value that is not declared.
    """
    if label.shape != geometry.source.shape:
        raise DataError(
            f"{case or 'label'}: the label has {label.shape} voxels, its image {geometry.source.shape}",
            hint="label and image must lie on the same grid; `semiseg check` finds all such cases",
            code="SHAPE",
        )
    classes = geometry.crop(geometry.turn(to_classes(label, plan, case=case)))
    kernels = kernels_for(geometry.source_spacing, geometry.cropped_shape, geometry.shape, "linear")
    return resample_classes(classes, geometry.shape, kernels)


def restore_probabilities(probabilities: Image, geometry: Geometry, plan: Plan) -> Image:
    """Class probabilities on the scan's own voxels.

    Args:
        probabilities: (K, T0, T1, T2), summing to one over K.
        geometry: the scan's.
        plan: the plan the scan was laid out with.

    Returns:
        (K, *S) float32, still summing to one; outside the crop the first class (background) is certain.
    """
    _require_fit(probabilities, geometry, plan)
    out = np.empty((len(probabilities), *geometry.source.shape), np.float32)
    for k, values in enumerate(probabilities):
        out[k] = restore_map(values, geometry, plan, fill=float(k == 0))
    return out


def restore_labels(probabilities: Image, geometry: Geometry, plan: Plan) -> NDArray[Any]:
    """The most probable class of each of the scan's own voxels, as the values that the user's files hold.

    Probabilities are resampled class by class, so memory holds two classes at a time, not K.

    Args:
        probabilities: (K, T0, T1, T2); any scores will do, the largest wins, the first of equals.
        geometry: the scan's.
        plan: its labels and label_map give the values.

    Returns:
        (*S) in the smallest unsigned integer type that holds the values.
    """
    _require_fit(probabilities, geometry, plan)
    values = file_values(plan)
    best = np.full(geometry.cropped_shape, -np.inf, np.float32)
    inside = np.full(geometry.cropped_shape, values[0], smallest_unsigned(values))
    for scores, value in zip(probabilities, values, strict=True):
        share = _resample_back(scores, geometry)
        wins = share > best
        best[wins] = share[wins]
        inside[wins] = value
    full = np.full(geometry.turned_shape, values[0], inside.dtype)
    geometry.crop(full)[...] = inside
    return np.ascontiguousarray(geometry.turn_back(full))


def restore_map(values: Image, geometry: Geometry, plan: Plan, fill: float = 0.0) -> Image:
    """A map such as uncertainty on the scan's own voxels.

    Args:
        values: (T0, T1, T2).
        geometry: the scan's.
        plan: the plan the scan was laid out with.
        fill: what stands outside the crop.

    Returns:
        (*S) float32.
    """
    _require_fit(values[None], geometry, None)
    full = np.full(geometry.turned_shape, fill, np.float32)
    geometry.crop(full)[...] = _resample_back(values, geometry)
    return np.ascontiguousarray(geometry.turn_back(full))


def _resample_back(values: Image, geometry: Geometry) -> Image:
    return resample(values, geometry.cropped_shape, ("linear", "linear", "linear"))


def _require_fit(values: Image, geometry: Geometry, plan: Plan | None) -> None:
    classes = len(values) if plan is None else plan.classes
    if values.shape != (classes, *geometry.shape):
        raise DataError(
            f"got values of shape {values.shape}, wanted {(classes, *geometry.shape)}",
            hint="the plan and the geometry must be those that the scan was prepared with",
            code="SHAPE",
        )


def _require_finite(channel: NDArray[Any], name: str) -> None:
    if channel.dtype.kind == "f" and not np.isfinite(channel.sum(dtype=np.float64)):
        bad = int(channel.size - np.isfinite(channel).sum())
        raise DataError(
            f"channel {name!r} holds {bad} voxels that are NaN or infinite, wanted finite values",
            hint="replace them in the file; `semiseg check` lists all such files",
            code="NOT_FINITE",
        )


def _any_nonzero(channels: list[NDArray[Any]]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = channels[0] != 0
    for channel in channels[1:]:
        mask = mask | (channel != 0)
    return mask


def _box(mask: NDArray[np.bool_]) -> Box:
    ends = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        ends.append((int(hits[0]), int(hits[-1]) + 1) if len(hits) else (0, mask.shape[axis]))
    return cast(Box, tuple(ends))
