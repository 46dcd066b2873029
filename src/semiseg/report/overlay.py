"""A picture of a segmentation: telling slices of the scan with contours of reference and prediction.

Contours are solid for the prediction and dashed for the reference, one color per class. Volumes are shown in
radiological convention: the patient's right is on the left of axial and coronal slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semiseg.atomic import replacing
from semiseg.errors import UsageError
from semiseg.report.cuts import AXIAL, CORONAL, PLANE, SAGITTAL, Array, Cut, best_cut
from semiseg.report.palette import INK, colors
from semiseg.report.sheet import Sheet

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
        image: (X, Y, Z) intensities in RAS order (see :func:`semiseg.report.cuts.to_ras`), or
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
    values: Sequence[int],
) -> None:
    """Draw one slice and its contours.

    Args:
        axis: where; its units become millimeters.
        cut: which slice, and which part of it.
        image: (X, Y, Z) intensities.
        window: intensities shown as black and as white.
        prediction: (X, Y, Z) label values.
        reference: the same, or None.
        values: label values of the classes, one color each.
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
    axis: Axes, cut: Cut, prediction: Array, reference: Array | None, values: Sequence[int]
) -> None:
    """Predictions below, references above them with a dark rim, so that both show where they coincide."""
    palette = colors(len(values))
    for color, value in zip(palette, values, strict=True):
        _contour(axis, cut, prediction == value, color, linewidths=1.7)
    if reference is None:
        return
    for color, value in zip(palette, values, strict=True):
        _contour(axis, cut, reference == value, "black", linewidths=1.7)
        _contour(axis, cut, reference == value, color, linewidths=1.3, linestyles=[DASHES])


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
