"""The mean difference of every arm to the baseline, case by case, with its interval: a forest plot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from semiseg.comparison.report.figures.style import (
    MUTED,
    ONE_COLUMN,
    color_of,
    drawing,
    label_of,
    marker_of,
    new_figure,
    rows_of_names,
    shortened,
)
from semiseg.comparison.result.format import lower_is_better, p_value, titled, verdict
from semiseg.drawing.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from semiseg.comparison.result import ArmGroup, Comparison, PairTest

ROW = 0.22


def lacking(group: ArmGroup) -> str:
    """Why the figure cannot be drawn; blank when it can."""
    if group.baseline is None:
        return "There is no baseline that the others could be compared with."
    return "" if group.against_baseline else "There is no other method than the baseline."


@drawing
def draw(comparison: Comparison, group: ArmGroup) -> Figure:
    """Differences of the comparison's metric; see :func:`lacking`."""
    order = [arm.name for arm in group.arms]
    tests = sorted(group.against_baseline, key=lambda test: order.index(test.a))
    figure = new_figure(ONE_COLUMN, 0.85 + ROW * max(len(tests), 2))
    axis = figure.add_subplot()
    rows_of_names(axis, [label_of(group, group.arm(test.a)) for test in tests])
    for row, test in enumerate(tests):
        found = verdict(group, group.arm(test.a), comparison.alpha)
        _draw_row(axis, row, test, color_of(found), marker_of(found))
    axis.axvline(0, color=INK, linewidth=0.8, zorder=1)
    axis.grid(axis="x")
    axis.locator_params(axis="x", nbins=4)
    metric = titled(comparison, comparison.metric)
    better = "left" if lower_is_better(comparison.metric) else "right"
    baseline = shortened(group.baseline or "", 20)
    axis.set_xlabel(f"{metric} minus {baseline}\n(better to the {better})")
    axis.annotate(
        "p (Holm)",
        (1.02, 1.0),
        xycoords="axes fraction",
        xytext=(0, 2),
        textcoords="offset points",
        fontsize=7,
        color=MUTED,
        annotation_clip=False,
    )
    return figure


def _draw_row(axis: Axes, row: int, test: PairTest, color: str, marker: str) -> None:
    interval = test.interval
    if not math.isnan(interval.low):
        axis.plot(
            [interval.low, interval.high], [row, row], color=color, linewidth=1.4, solid_capstyle="butt"
        )
    if not math.isnan(test.difference):
        axis.plot([test.difference], [row], marker, color=color, markersize=5)
    axis.annotate(
        p_value(test.p_holm),
        (1.02, row),
        xycoords=("axes fraction", "data"),
        fontsize=7,
        va="center",
        color=INK,
        annotation_clip=False,
    )
