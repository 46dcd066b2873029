"""A picture of a segmentation: telling slices of the scan with contours of reference and prediction.

Contours are solid for the prediction and dashed for the reference, one color per class. Volumes are shown in
radiological convention: the patient's right is on the left of axial and coronal slices.

Which slices of a volume tell most of a segmentation, and how they lie on paper.

The paper that pictures are put on: panels at one common scale, with room for title, legend and a note.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semiseg.drawing.palette import INK, colors
from semiseg.errors import UsageError
from semiseg.machine.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONVENTION = "Radiological convention: the patient's right is on the left."
DASHES = (0, (2.4, 1.4))


def overlay_picture(
    image: Array,
    spacing: Sequence[float],
    reference: Array | None,
    prediction: Array | Mapping[str, Array],
    labels: Mapping[str, int],
    path: Path,
    title: str,
    *,
    note: str = "",
) -> None:
    """Write a PNG of the most telling slices with contours.

    Args:
        image: (X, Y, Z) intensities in RAS order (see :func:`semiseg.drawing.overlay.to_ras`), or
            (rows, columns) of a 2D image.
        spacing: millimeters between voxels along each axis of ``image``.
        reference: label values, same shape, or None where no reference exists.
        prediction: label values, same shape; or several by name, one row of pictures each.
        labels: class name -> label value; 0 is background and not drawn.
        path: the PNG, written atomically.
        title: above the picture.
        note: one more sentence below it, such as where the data come from.

    Raises:
        UsageError: arrays of different shapes, or neither two nor three axes.
    """
    predictions = dict(prediction) if isinstance(prediction, Mapping) else {"": prediction}
    _check(image, spacing, [*predictions.values(), *([] if reference is None else [reference])])
    flat = image.ndim == 2
    if flat:
        image, spacing = deep(image), (spacing[1], spacing[0], 1.0)
        predictions = {name: deep(values) for name, values in predictions.items()}
        reference = None if reference is None else deep(reference)

    classes = {name: value for name, value in labels.items() if value != 0}
    telling = list(predictions.values()) if reference is None else [reference]
    cuts = [
        best_cut(view, telling, predictions.values(), list(classes.values()), spacing)
        for view in ([PLANE] if flat else [AXIAL, CORONAL, SAGITTAL])
    ]
    sheet = Sheet(
        [(cut.width, cut.height) for cut in cuts], list(predictions), _legend(classes, reference is not None)
    )
    window = intensity_window(image)
    for row, values in enumerate(predictions.values()):
        for column, cut in enumerate(cuts):
            axis = sheet.panel(row, column)
            draw_cut(axis, cut, image, window, values, reference, list(classes.values()))
            _label_edges(axis, cut)
            if row == 0 and not flat:
                sheet.head(column, f"{cut.view.name}, slice {cut.index + 1} of {cut.depth}")
    _scale_bar(sheet.panel(len(predictions) - 1, len(cuts) - 1), cuts[-1])
    sheet.title(title)
    sheet.note(" ".join(text for text in ("" if flat else CONVENTION, note) if text))
    with replacing(path) as temporary:
        sheet.figure.savefig(temporary, dpi=160)


def _check(image: Array, spacing: Sequence[float], others: Sequence[Array]) -> None:
    shapes = {tuple(other.shape) for other in others} | {tuple(image.shape)}
    if len(shapes) > 1 or image.ndim not in (2, 3) or len(spacing) != image.ndim:
        raise UsageError(
            f"a picture needs arrays of one shape with two or three axes, got {sorted(shapes)} "
            f"and {len(spacing)} spacings",
            hint="resample to the image's grid, one channel only",
            code="PICTURE_SHAPES",
        )


def draw_cut(
    axis: Axes,
    cut: Cut,
    image: Array,
    window: tuple[float, float],
    prediction: Array,
    reference: Array | None,
    values: Sequence[int | Sequence[int]],
) -> None:
    """Draw one slice and its contours.

    Args:
        axis: where; its units become millimeters.
        cut: which slice, and which part of it.
        image: (X, Y, Z) intensities.
        window: intensities shown as black and as white.
        prediction: (X, Y, Z) label values.
        reference: the same, or None.
        values: label values of the classes, one color each; a region has several.
    """
    axis.imshow(
        cut.of(image), cmap="gray", vmin=window[0], vmax=window[1],
        extent=(0.0, cut.width, cut.height, 0.0), interpolation="nearest",
    )  # fmt: skip
    _draw_contours(axis, cut, prediction, reference, values)


def deep(plane: Array) -> Array:
    """(rows, columns) as (columns, rows, 1): across, down, through, like the axes of a volume."""
    return plane.T[..., None]


def _legend(classes: Mapping[str, int], with_reference: bool) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {
        name: {"color": color, "linewidth": 3}
        for name, color in zip(classes, colors(len(classes)), strict=True)
    }
    if with_reference:
        entries["prediction"] = {"color": INK, "linewidth": 1.6}
        entries["reference"] = {"color": INK, "linewidth": 1.6, "linestyle": DASHES}
    return entries


def intensity_window(image: Array) -> tuple[float, float]:
    """What to show as black and as white: nearly the darkest and nearly the brightest voxel."""
    low, high = np.nanpercentile(image, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6))


def _draw_contours(
    axis: Axes, cut: Cut, prediction: Array, reference: Array | None, values: Sequence[int | Sequence[int]]
) -> None:
    """Predictions below, references above them with a dark rim, so that both show where they coincide."""
    palette = colors(len(values))
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


def _rimmed(axis: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """White text that can be read on bright tissue, too."""
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=2, foreground="black")]
    axis.text(x, y, text, color="white", fontsize=8, path_effects=rim, **style)


def _label_edges(axis: Axes, cut: Cut) -> None:
    left, right, top, bottom = cut.view.edges
    place: dict[str, Any] = {"transform": axis.transAxes}
    _rimmed(axis, 0.015, 0.5, left, ha="left", va="center", **place)
    _rimmed(axis, 0.985, 0.5, right, ha="right", va="center", **place)
    _rimmed(axis, 0.5, 0.985, top, ha="center", va="top", **place)
    _rimmed(axis, 0.5, 0.015, bottom, ha="center", va="bottom", **place)


def _scale_bar(axis: Axes, cut: Cut) -> None:
    length = max((n for n in (1, 2, 5, 10, 20, 50, 100) if n <= cut.width / 3), default=1)
    right, y = cut.width * 0.97, cut.height * 0.955
    axis.plot([right - length, right], [y, y], color="black", linewidth=3.5, solid_capstyle="butt")
    axis.plot([right - length, right], [y, y], color="white", linewidth=2, solid_capstyle="butt")
    _rimmed(axis, right - length / 2, y - cut.height * 0.015, f"{length} mm", ha="center", va="bottom")


Array = NDArray[Any]

MARGIN_MM = 12.0
"""Kept around the structures when a view is cropped to them."""


@dataclass(frozen=True)
class View:
    """One way to cut a volume in RAS order: the axis looked along, and what lies on the picture's edges."""

    name: str
    axis: int
    edges: tuple[str, str, str, str]
    """Left, right, top and bottom edge; blank where unknown."""
    flip: bool = True
    """Whether both picture axes run against the array's, which is what radiologists are used to."""


AXIAL = View("axial", 2, ("R", "L", "A", "P"))
CORONAL = View("coronal", 1, ("R", "L", "S", "I"))
SAGITTAL = View("sagittal", 0, ("A", "P", "S", "I"))
PLANE = View("slice", 2, ("", "", "", ""), flip=False)
"""A plain 2D image, shown as it is stored."""


@dataclass(frozen=True)
class Cut:
    """A slice to show: where it lies, which part of it is shown, and its size in mm."""

    view: View
    index: int
    depth: int
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
    """The slice of ``telling`` label maps that shows the most, cropped when the structures are small in it.

    Args:
        view: which way to cut.
        telling: (X, Y, Z) label maps that choose the slice: the reference, or else the predictions.
        shown: (X, Y, Z) label maps that must not be cropped away.
        values: label values of the classes.
        spacing: mm per axis.
    """
    index = _telling_index(telling, values, view.axis)
    across, down = (axis for axis in (0, 1, 2) if axis != view.axis)
    foreground = np.any([np.take(v, index, view.axis) > 0 for v in (*telling, *shown)], axis=0)
    box = (
        _crop(foreground.any(axis=1), MARGIN_MM / spacing[across]),
        _crop(foreground.any(axis=0), MARGIN_MM / spacing[down]),
    )
    return Cut(view, index, telling[0].shape[view.axis], box, (spacing[across], spacing[down]))


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
    """Turn a volume's axes to right, anterior, superior by flips and swaps alone.

    Args:
        array: (X, Y, Z) in file order.
        affine: (4, 4) index -> RAS+ millimeters.

    Returns:
        The turned array and its spacing in mm.
    """
    from nibabel import orientations

    orientation: Array = orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    turned: Array = orientations.apply_orientation(array, orientation)  # type: ignore[no-untyped-call]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    x, y, z = (float(spacing[i]) for i in np.argsort(orientation[:, 0]))
    return turned, (x, y, z)


WIDTH, LOWEST_WIDTH, TALLEST = 10.0, 6.0, 10.0
CHARACTERS_PER_INCH = 13
"""Of the legend's font, to see how many entries fit side by side."""
GAP = 0.08
TITLE, HEAD, LEGEND, NOTE, EDGE, NAME = 0.42, 0.24, 0.34, 0.26, 0.1, 0.34
"""Inches: of the whole, between panels, and of what stands around them."""


class Sheet:
    """A matplotlib figure of ``len(rows)`` by ``len(sizes)`` panels, all at the same inches per millimeter.

    Args:
        sizes: (width, height) in mm of the panels of each column.
        rows: name of each row, shown at its left; blank for none.
        legend: the entries of the legend, as name -> matplotlib line style.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[float, float]],
        rows: Sequence[str],
        legend: Mapping[str, Mapping[str, Any]],
    ) -> None:
        from matplotlib.figure import Figure

        self.sizes = sizes
        left = NAME if any(rows) else EDGE
        room = (WIDTH if len(sizes) > 1 else LOWEST_WIDTH) - left - EDGE - GAP * (len(sizes) - 1)
        tallest = max(height for _, height in sizes)
        self._scale = min(room / sum(width for width, _ in sizes), TALLEST / (len(rows) * tallest))
        content = sum(width for width, _ in sizes) * self._scale + GAP * (len(sizes) - 1)
        self._width = max(left + content + EDGE, LOWEST_WIDTH)
        self._left = left + max(0.0, self._width - left - content - EDGE) / 2
        self._row = tallest * self._scale + GAP
        longest = max((len(name) for name in legend), default=0) + 6
        columns = max(1, min(len(legend), int(self._width * CHARACTERS_PER_INCH / longest)))
        self._below = NOTE + EDGE + LEGEND * math.ceil(len(legend) / columns)
        self._height = TITLE + HEAD + self._row * len(rows) + self._below
        self.figure = Figure(figsize=(self._width, self._height))
        self._rows = rows
        self._axes: dict[tuple[int, int], Axes] = {}
        if legend:
            self._draw_legend(legend, columns)

    def panel(self, row: int, column: int) -> Axes:
        """The axes of one picture, without ticks; centered in its row."""
        if (row, column) not in self._axes:
            width, height = (length * self._scale for length in self.sizes[column])
            x = self._left + sum(w * self._scale + GAP for w, _ in self.sizes[:column])
            middle = self._height - TITLE - HEAD - self._row * (row + 0.5)
            axis = self.figure.add_axes(self._relative(x, middle - height / 2, width, height))
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            self._axes[row, column] = axis
            if column == 0 and self._rows[row]:
                self._text(x - 0.12, middle, self._rows[row], rotation=90, fontsize=10, color=INK)
        return self._axes[row, column]

    def head(self, column: int, text: str) -> None:
        """A line above the first panel of a column."""
        width, height = (length * self._scale for length in self.sizes[column])
        x = self._left + sum(w * self._scale + GAP for w, _ in self.sizes[:column])
        top = self._height - TITLE - HEAD - self._row / 2 + height / 2
        self._text(x + width / 2, top + 0.11, text, fontsize=9, color=INK)

    def title(self, text: str) -> None:
        """The line at the top."""
        self._text(self._width / 2, self._height - TITLE / 2, text, fontsize=12, color=INK)

    def note(self, text: str) -> None:
        """The small line at the bottom."""
        self._text(self._width / 2, EDGE + NOTE / 2, text, fontsize=8, color="#555555")

    def _draw_legend(self, entries: Mapping[str, Mapping[str, Any]], columns: int) -> None:
        from matplotlib.lines import Line2D

        middle = (EDGE + NOTE + self._below) / 2 / self._height
        self.figure.legend(
            handles=[Line2D([], [], label=name, **style) for name, style in entries.items()],
            loc="center",
            bbox_to_anchor=(0.5, middle),
            ncols=columns,
            frameon=False,
            fontsize=9,
            columnspacing=1.6,
        )

    def _relative(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        return x / self._width, y / self._height, width / self._width, height / self._height

    def _text(self, x: float, y: float, text: str, **style: Any) -> None:
        self.figure.text(x / self._width, y / self._height, text, ha="center", va="center", **style)
