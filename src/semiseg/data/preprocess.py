"""A scan to network input: turn, crop, normalize (at the scan's own resolution), resample.

The way back is in :mod:`semiseg.data.restore`.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from semiseg.data.geometry import Box, Geometry, Shape, lay_out
from semiseg.data.labels import to_classes
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
