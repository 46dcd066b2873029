"""What colors, signs and labels mean, the same in every figure.

Many small panels with common axes: how curves of up to dozens of arms stay readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from semiseg.comparison.format import Verdict, verdict
from semiseg.comparison.report.figures.style import (
    BETTER,
    MUTED,
    ONE_COLUMN,
    TWO_COLUMNS,
    WORSE,
    new_figure,
    shortened,
)
from semiseg.drawing.palette import INK

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from semiseg.comparison.result import Arm, ArmGroup, Comparison

_COLORS: dict[Verdict, str] = {"baseline": INK, "better": BETTER, "worse": WORSE}

Mark = Literal["disk", "triangle", "line"]

MARKERS: dict[Verdict, str] = {"better": "^", "worse": "v"}
"""The shape says what the color says."""


def color_of(verdict: Verdict) -> str:
    """Blue is better than the baseline, vermilion worse, ink the baseline, gray what no test tells apart."""
    return _COLORS.get(verdict, MUTED)


def marker_of(verdict: Verdict) -> str:
    """A triangle that points where the arm went, else a disk."""
    return MARKERS.get(verdict, "o")


def label_of(group: ArmGroup, arm: Arm) -> str:
    """The arm's name, with what it is to the others."""
    if arm.bound == "upper":
        return f"all {arm.labeled} labels"
    name = shortened(arm.name, 24)
    return f"{name}, baseline" if arm.name == group.baseline else name


def explain(
    figure: Figure,
    comparison: Comparison,
    groups: Sequence[ArmGroup],
    mark: Mark,
    more: Sequence[Artist] = (),
) -> None:
    """Put below a figure what its colors say, those alone that are in it.

    Args:
        figure: with a constrained layout, which makes room.
        comparison: gives the metric that was tested, and alpha.
        groups: of the arms; of one dataset.
        mark: what carries the color in this figure.
        more: further entries of the legend.
    """
    found = {verdict(group, arm, comparison.alpha) for group in groups for arm in group.arms}
    handles = [
        entry(text, **_style(kind, mark))
        for kind, text in _words(comparison, groups).items()
        if kind in found
    ]
    if handles or more:
        figure.legend(
            handles=[*handles, *more],
            loc="outside lower center",
            ncols=3,
            columnspacing=1.4,
            handletextpad=0.5,
        )


def entry(text: str, **style: Any) -> Artist:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=text, **style)


def _style(kind: Verdict, mark: Mark) -> dict[str, Any]:
    if mark == "line":
        return {"color": color_of(kind), "linewidth": 1.4}
    marker = marker_of(kind) if mark == "triangle" else "o"
    return {"color": color_of(kind), "marker": marker, "markersize": 4, "linewidth": 0}


def _words(comparison: Comparison, groups: Sequence[ArmGroup]) -> dict[Verdict, str]:
    baseline = next((shortened(group.baseline, 20) for group in groups if group.baseline is not None), "")
    metric = comparison.metric
    return {
        "better": f"better than {baseline} in {metric}",
        "worse": f"worse than {baseline} in {metric}",
        "open": f"no difference in {metric} shown",
    }


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
