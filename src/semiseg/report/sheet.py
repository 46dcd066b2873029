"""The paper that pictures are put on: panels at one common scale, with room for title, legend and a note."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semiseg.report.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
