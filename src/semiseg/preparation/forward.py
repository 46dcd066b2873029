"""A scan to network input: turn, crop, normalize (at the scan's own resolution), resample.

The way back is in :mod:`semiseg.preparation.back`.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError, plural
from semiseg.images.arrays import non_finite
from semiseg.images.grid import Grid, times
from semiseg.inference.postprocess import box_of
from semiseg.machine.hardware import free_memory_gb
from semiseg.preparation.geometry import Box, Geometry, Shape, lay_out
from semiseg.preparation.labels import IGNORE, to_classes
from semiseg.preparation.plan import ChannelPlan, Plan, Scheme
from semiseg.preparation.resample import kernels_for, resample, resample_classes

__all__ = ["Geometry", "preprocess_image", "preprocess_label", "stored_shape"]

Image = NDArray[np.float32]


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
            f"got {plural(len(image), 'channel')}, wanted {len(plan.channels)} ({names})",
            hint="give one file per channel, in the order of channel_names in dataset.json",
            code="CHANNELS",
        )
    whole = lay_out(grid, plan)
    turned = [whole.turn(channel) for channel in image]
    geometry, inside = whole, None
    if plan.crop == "nonzero":
        mask = np.logical_or.reduce([channel != 0 for channel in turned])
        box = box_of(mask) or tuple(slice(0, size) for size in mask.shape)
        geometry = lay_out(grid, plan, cast(Box, tuple((part.start, part.stop) for part in box)))
        inside = geometry.crop(mask)
    _require_room(geometry, len(image))
    out = np.empty((len(image), *geometry.shape), np.float32)
    kernels = kernels_for(geometry.source_spacing, geometry.cropped_shape, geometry.shape, "cubic")
    for c, (channel, how) in enumerate(zip(turned, plan.channels, strict=True)):
        require_finite(channel, how.name)
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


def _require_room(geometry: Geometry, channels: int) -> None:
    """Refuse a scan that would not fit into memory at the plan's spacing.

    Raises:
        DataError: TOO_LARGE.
    """
    needed = 4 * channels * math.prod(geometry.shape)
    free = free_memory_gb() if geometry.resampled and needed > 2**28 else None
    if free is not None and 2 * needed > free * 2**30:
        own, target = times(geometry.source_spacing, 4), times(geometry.spacing, 4)
        raise DataError(
            f"its voxels of {own} mm become {times(geometry.shape)} of {target} mm, which take "
            f"{2 * needed / 2**30:.1f} GB; {free:g} GB of memory are free",
            hint="see whether the spacing in its header is right; else plan a larger spacing",
            code="TOO_LARGE",
        )


def require_finite(channel: NDArray[Any], name: str) -> None:
    """See that every voxel is a number.

    Raises:
        DataError: some are not, or larger than any scanner measures.
    """
    if bad := non_finite(channel):
        raise DataError(
            f"channel {name!r} holds {bad}, wanted finite values",
            hint="replace them in the file; `semiseg check` lists all such files",
            code="NOT_FINITE",
        )


_BY_NAME: dict[str, Scheme] = {
    "ct": "ct", "nonorm": "none", "zscore": "zscore", "rescale_to_0_1": "rescale_to_0_1",
    "rgb_to_0_1": "rgb_to_0_1",
}  # fmt: skip


def scheme_for(channel_name: str) -> Scheme:
    """The scheme that a channel's name asks for, as in nnU-Net: ``CT``, ``noNorm``, ..., else z-score."""
    return _BY_NAME.get(channel_name.strip().casefold(), "zscore")


def normalize(channel: NDArray[Any], plan: ChannelPlan, inside: NDArray[np.bool_] | None = None) -> Image:
    """Normalize one channel of one scan.

    Args:
        channel: (T0, T1, T2), any numeric type.
        plan: the scheme, the window if there is one, and for ``ct`` the dataset's statistics.
        inside: for ``zscore``: the voxels that count. Given only where the plan crops to nonzero voxels, that
            is where the empty surroundings are large enough to distort the mean; they become 0, the mean of
            the rest. Min-max and the other schemes look at all voxels.

    Returns:
        (T0, T1, T2) float32. ``zscore`` has mean 0 and standard deviation 1 (a constant image becomes 0);
        ``rescale_to_0_1`` lies in [0, 1].
    """
    image = np.array(channel, np.float32, order="C")
    if plan.clip is not None:
        np.clip(image, *plan.clip, out=image)
    if plan.scheme == "zscore":
        return _zscore(image, inside)
    if plan.scheme == "ct":
        np.clip(image, plan.p005, plan.p995, out=image)
        return _shift_and_scale(image, plan.mean, max(plan.std, 1e-8))
    if plan.scheme == "rescale_to_0_1":
        low, high = float(image.min()), float(image.max())
        return _shift_and_scale(image, low, (high - low) or 1.0)
    if plan.scheme == "rgb_to_0_1":
        image /= np.float32(255)
    return image


def _zscore(image: Image, inside: NDArray[np.bool_] | None) -> Image:
    voxels = image if inside is None or not inside.any() else image[inside]
    mean, std = float(voxels.mean(dtype=np.float64)), float(voxels.std(dtype=np.float64))
    out = _shift_and_scale(image, mean, std if std > 1e-8 else 1.0)
    if inside is not None:
        out[~inside] = 0
    return out


def _shift_and_scale(image: Image, shift: float, scale: float) -> Image:
    image -= np.float32(shift)
    image /= np.float32(scale)
    return image


MOST = 10_000
"""Positions kept per case."""


def sample_foreground(label: NDArray[np.uint8], most: int = MOST) -> NDArray[np.int32]:
    """A deterministic, class-balanced sample of foreground voxels.

    Every class present gets an equal share, or all its voxels where it has fewer; what small classes leave
    over goes to the larger ones.

    Args:
        label: (T0, T1, T2) classes; 0 is background, 255 ignored.
        most: positions to keep.

    Returns:
        (N, 3) int32, N <= ``most``; class by class, ascending within a class. Empty without foreground.
    """
    counts = np.bincount(label.ravel(), minlength=256)
    classes = [k for k in np.flatnonzero(counts).tolist() if k not in (0, IGNORE)]
    rng = np.random.default_rng(0)
    shares = _shares({k: int(counts[k]) for k in classes}, most)
    chosen = []
    for k in classes:
        voxels = np.flatnonzero(label == k)
        if len(voxels) > shares[k]:
            voxels = np.sort(rng.choice(voxels, shares[k], replace=False))
        chosen.append(np.stack(np.unravel_index(voxels, label.shape), 1))
    return np.concatenate([np.empty((0, 3), np.int32), *chosen]).astype(np.int32)


def _shares(counts: dict[int, int], most: int) -> dict[int, int]:
    """Smallest class first: each takes at most an equal part of what is left."""
    shares, left = {}, most
    for position, (k, count) in enumerate(sorted(counts.items(), key=lambda item: item[1])):
        shares[k] = min(count, left // (len(counts) - position))
        left -= shares[k]
    return shares
