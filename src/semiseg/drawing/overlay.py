"""The most telling slice of a scan, with contours of reference and prediction.

Contours are solid for the prediction and dashed for the reference, one color per class. Axial slices are
shown in radiological convention: the patient's right is on the left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semiseg.drawing.palette import colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = (0, (2.4, 1.4))


def draw_cut(
    axis: Axes,
    cut: Cut,
    image: Array,
    window: tuple[float, float],
    prediction: Array,
    reference: Array | None,
    values: Sequence[int | Sequence[int]],
    palette: Sequence[str] = (),
) -> None:
    """Draw one slice with the contours of prediction and reference; the units of the axis become millimeters.

    Args:
        axis: where.
        cut: which slice, and which part of it.
        image: (X, Y, Z) intensities, or (X, Y, Z, 3) colors in 0 to 255.
        window: intensities shown as black and as white.
        prediction: (X, Y, Z) label values.
        reference: the same, or None.
        values: label values of the classes, one color each; a region has several.
        palette: their colors; empty for the usual ones.
    """
    shown = cut.of(image) if image.ndim == 3 else np.stack([cut.of(image[..., c]) for c in range(3)], -1)
    axis.imshow(
        shown, cmap="gray", vmin=window[0], vmax=window[1],
        extent=(0.0, cut.width, cut.height, 0.0), interpolation="nearest",
    )  # fmt: skip
    _draw_contours(axis, cut, prediction, reference, values, palette or colors(len(values)))


def deep(plane: Array) -> Array:
    """(rows, columns) as (columns, rows, 1): across, down, through, like the axes of a volume."""
    return plane.T[..., None]


def intensity_window(image: Array) -> tuple[float, float]:
    """What to show as black and as white: nearly the darkest and nearly the brightest voxel."""
    low, high = np.nanpercentile(image, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6))


def _draw_contours(
    axis: Axes,
    cut: Cut,
    prediction: Array,
    reference: Array | None,
    values: Sequence[int | Sequence[int]],
    palette: Sequence[str],
) -> None:
    """Predictions below, references above them with a dark rim, so that both show where they coincide."""
    for color, value in zip(palette, values, strict=True):
        _contour(axis, cut, np.isin(prediction, value), color, linewidths=1.7)
    if reference is None:
        return
    for color, value in zip(palette, values, strict=True):
        _contour(axis, cut, np.isin(reference, value), "black", linewidths=1.7)
        _contour(axis, cut, np.isin(reference, value), color, linewidths=1.3, linestyles=[DASHES])


def _contour(axis: Axes, cut: Cut, mask: Array, color: str, **style: Any) -> None:
    plane = np.pad(cut.of(mask).astype(np.float32), 1)  # padded, so that a contour closes at the edge
    if plane.any():
        x = (np.arange(plane.shape[1]) - 0.5) * cut.pixel[0]
        y = (np.arange(plane.shape[0]) - 0.5) * cut.pixel[1]
        axis.contour(x, y, plane, levels=[0.5], colors=[color], **style)


Array = NDArray[Any]

MARGIN_MM = 12.0
"""Kept around the structures when a view is cropped to them."""


@dataclass(frozen=True)
class View:
    """One way to cut a volume in RAS order: the axis looked along."""

    axis: int
    flip: bool = True
    """Whether both picture axes run against the array's, which is what radiologists are used to."""


AXIAL = View(2)
CORONAL = View(1)
SAGITTAL = View(0)
PLANE = View(2, flip=False)
"""A plain 2D image, shown as it is stored."""


@dataclass(frozen=True)
class Cut:
    """A slice to show: where it lies, which part of it is shown, and its size in mm."""

    view: View
    index: int
    box: tuple[slice, slice]
    pixel: tuple[float, float]
    """Millimeters per voxel along the picture's horizontal and vertical axis."""

    @property
    def width(self) -> float:
        """Shown millimeters from left to right."""
        return float(self.box[0].stop - self.box[0].start) * self.pixel[0]

    @property
    def height(self) -> float:
        """Shown millimeters from top to bottom."""
        return float(self.box[1].stop - self.box[1].start) * self.pixel[1]

    def of(self, volume: Array) -> Array:
        """The shown part of a volume as (rows, columns)."""
        plane: Array = np.take(volume, self.index, axis=self.view.axis)[self.box].T
        return plane[::-1, ::-1] if self.view.flip else plane


def best_cut(
    view: View,
    telling: Sequence[Array],
    shown: Iterable[Array],
    values: Sequence[int | Sequence[int]],
    spacing: Sequence[float],
) -> Cut:
    """The slice that shows the most of ``telling`` label maps, cropped when the structures are small in it.

    All are (X, Y, Z): ``telling`` is the reference, or else the predictions; ``shown`` must not be cropped
    away. ``values`` are those of the classes, ``spacing`` is mm per axis.
    """
    index = _telling_index(telling, values, view.axis)
    across, down = (axis for axis in (0, 1, 2) if axis != view.axis)
    foreground = np.any([np.take(v, index, view.axis) > 0 for v in (*telling, *shown)], axis=0)
    box = (
        _crop(foreground.any(axis=1), MARGIN_MM / spacing[across]),
        _crop(foreground.any(axis=0), MARGIN_MM / spacing[down]),
    )
    return Cut(view, index, box, (spacing[across], spacing[down]))


def _telling_index(volumes: Sequence[Array], values: Sequence[int | Sequence[int]], axis: int) -> int:
    """Where the areas of all classes, relative to the largest of each, have the largest sum."""
    others = tuple(a for a in range(3) if a != axis)
    score = np.zeros(volumes[0].shape[axis])
    for value in values:
        area = np.sum([np.isin(volume, value).sum(axis=others) for volume in volumes], axis=0)
        score += area / max(float(area.max()), 1.0)
    return int(np.argmax(score)) if score.any() else len(score) // 2


def _crop(line: Array, margin: float) -> slice:
    """The part of an axis to show: all of it, unless what matters is less than a third of it."""
    size = len(line)
    inside = np.flatnonzero(line)
    if inside.size == 0 or inside.size > size / 3:
        return slice(0, size)
    pad = max(margin, inside.size * 0.75)
    return slice(max(0, int(inside[0] - pad)), min(size, int(inside[-1] + pad) + 1))


def to_ras(array: Array, affine: Array) -> tuple[Array, tuple[float, float, float]]:
    """A volume (X, Y, Z) turned to right, anterior, superior by flips and swaps, and its spacing in mm."""
    from nibabel import orientations

    orientation: Array = orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    turned: Array = orientations.apply_orientation(array, orientation)  # type: ignore[no-untyped-call]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    x, y, z = (float(spacing[i]) for i in np.argsort(orientation[:, 0]))
    return turned, (x, y, z)
