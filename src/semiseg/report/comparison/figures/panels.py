"""Many small panels with common axes: how curves of up to dozens of arms stay readable."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from semiseg.report.comparison.paper import ONE_COLUMN, TWO_COLUMNS, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 1.15
"""Inches of a panel."""


def small_panels(names: list[str], x_label: str) -> tuple[Figure, list[Axes]]:
    """One panel per name with shared axes, at most five side by side; spare places stay empty.

    Args:
        names: titles of the panels.
        x_label: below the lowest panel of each column.
    """
    columns = min(len(names), 5 if len(names) > 8 else 4)
    rows = math.ceil(len(names) / columns)
    width = max(ONE_COLUMN, TWO_COLUMNS * columns / 4 if columns < 4 else TWO_COLUMNS)
    figure = new_figure(width, 0.7 + (HEIGHT + 0.2) * rows + (0.5 if rows == 1 else 0))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    axes: list[Axes] = list(grid.flat)
    length, size = (20, 6.5) if columns == 5 else (24, 7)
    for axis, name in zip(axes, names, strict=False):
        axis.set_title(shortened(name, length), loc="left", fontsize=size, pad=3)
        axis.grid(visible=True)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    for column in range(columns):  # the lowest panel of each column has the numbers
        lowest = [axis for axis in axes[column::columns] if axis.axison][-1]
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel(x_label)
    return figure, axes[: len(names)]
