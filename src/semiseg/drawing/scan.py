"""One picture of a predicted scan: its most telling slices with the outlines of what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semiseg.drawing.overlay import (
    AXIAL,
    CORONAL,
    PLANE,
    SAGITTAL,
    Array,
    View,
    best_cut,
    draw_cut,
    intensity_window,
    to_ras,
)
from semiseg.drawing.palette import colors
from semiseg.machine.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT, _WIDTH = 4.0, 10.0
"""Inches that the views may fill; all have the same scale."""
_DPI = 120
_LEFT = {AXIAL: "R", CORONAL: "R", SAGITTAL: "A"}
"""What lies at the left of a view."""
_LEGEND = 1.8
"""Inches beside them."""


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure of a scan, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, facecolor="black")


def scan_figure(
    image: Array,
    labels: Array,
    affine: Array,
    structures: Mapping[str, int | Sequence[int]],
    *,
    palette: Sequence[str] = (),
    notes: Mapping[str, str] | None = None,
    title: str = "",
    rows_first: bool = False,
) -> Figure:
    """A volume from three sides, a picture as it is.

    Args:
        image: (*S) intensities, or (*S, 3) colors in 0 to 255, in file order.
        labels: (*S) label values.
        affine: (4, 4) index to RAS+ mm.
        structures: class or region -> its values.
        palette: ``#rrggbb`` of each; empty for the usual colors.
        notes: structure -> what the legend says behind its name, such as a volume.
        title: above.
        rows_first: whether the first axis of a picture counts rows, as in PNG; else columns, as in DICOM.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    flat = labels.ndim == 2
    image, labels, spacing = _upright(image, labels, affine, rows_first)
    views = [PLANE] if flat else [view for view in _LEFT if _wide(labels, view)] or [AXIAL]
    values = list(structures.values())
    shades = list(palette) or colors(len(values))
    cuts = [best_cut(view, [labels], [], values, spacing) for view in views]
    widths = [cut.width for cut in cuts]
    scale = min(_HEIGHT / max(cut.height for cut in cuts), _WIDTH / sum(widths))
    size = (scale * sum(widths) + _LEGEND, max(scale * max(cut.height for cut in cuts), 1.0) + 0.4)
    figure = Figure(figsize=size, facecolor="black", layout="constrained")
    axes = figure.subplots(1, len(cuts), squeeze=False, width_ratios=widths)[0]
    window = intensity_window(image)
    for axis, cut in zip(axes, cuts, strict=True):
        axis.set_axis_off()
        draw_cut(axis, cut, image, window, labels, None, values, shades)
        if cut.view in _LEFT:
            _mark(axis, _LEFT[cut.view])
    lines = [Line2D([], [], color=shade, linewidth=2) for shade in shades]
    names = [f"{name} {(notes or {}).get(name, '')}".strip() for name in structures]
    figure.legend(
        lines,
        names,
        loc="outside right center",
        fontsize=8,
        frameon=False,
        labelcolor="white",
        handlelength=1.2,
    )
    if title:
        figure.suptitle(title, fontsize=9, color="white")
    return figure


def _wide(volume: Array, view: View) -> bool:
    """Whether the view shows more than a line of voxels, as it does not across a single slice."""
    return bool(min(size for axis, size in enumerate(volume.shape) if axis != view.axis) > 1)


def _mark(axis: Axes, text: str) -> None:
    """A letter at the left edge, on light and on dark images."""
    from matplotlib.patheffects import withStroke

    rim = withStroke(linewidth=2, foreground="black")
    axis.text(0.02, 0.5, text, transform=axis.transAxes, color="white", fontsize=9, path_effects=[rim])


def _upright(
    image: Array, labels: Array, affine: Array, rows_first: bool
) -> tuple[Array, Array, tuple[float, float, float]]:
    """Both as (across, down, through), and mm per axis; volumes in RAS order."""
    import numpy as np

    if labels.ndim == 3:
        turned, spacing = to_ras(labels, affine)
        if image.ndim == 3:
            return to_ras(image, affine)[0], turned, spacing
        channels = [to_ras(channel, affine)[0] for channel in np.moveaxis(image, -1, 0)]
        return np.stack(channels, -1), turned, spacing
    mm = [float(s) for s in np.linalg.norm(affine[:3, :2], axis=0)]
    if rows_first:
        image, labels, mm = np.swapaxes(image, 0, 1), labels.T, mm[::-1]
    return image[:, :, None], labels[:, :, None], (mm[0], mm[1], 1.0)
