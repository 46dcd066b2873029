"""Every case of every arm: a box with its quartiles, the cases as points, the mean as a diamond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semiseg.comparison.report.figures.style import (
    MUTED,
    QUIET,
    TWO_COLUMNS,
    color_of,
    drawing,
    entry,
    explain,
    label_of,
    new_figure,
    rows_of_names,
)
from semiseg.comparison.result.format import titled, verdict
from semiseg.drawing.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from semiseg.comparison.result import ArmGroup, Comparison

ROW = 0.3
"""Inches per arm."""
DASHED: dict[str, Any] = {"color": QUIET, "linewidth": 0.8, "linestyle": (0, (4, 3))}
SPREAD = 0.27
"""How far points lie from the middle of their row, in rows."""


@drawing
def draw(comparison: Comparison, group: ArmGroup, metric: str) -> Figure:
    """Box plots of one metric, the arms in the order of the group, the best on top."""
    figure = new_figure(TWO_COLUMNS, 1.05 + ROW * max(len(group.arms), 2))
    axis = figure.add_subplot()
    rows_of_names(axis, [label_of(group, arm) for arm in group.arms])
    for row, arm in enumerate(group.arms):
        color = color_of(verdict(group, arm, comparison.alpha))
        _draw_row(axis, row, arm.per_case(metric), color)
    if group.baseline is not None:
        values = group.arm(group.baseline).per_case(metric)
        if not np.isnan(values).all():
            axis.axvline(float(np.nanmedian(values)), zorder=0.5, **DASHED)
    axis.set_xlabel(f"{titled(comparison, metric)}, one point per case")
    axis.grid(axis="x")
    diamond = {"marker": "D", "markersize": 4, "markerfacecolor": "#ffffff", "color": INK, "linewidth": 0}
    more = [entry("mean", **diamond)]
    if group.baseline is not None:
        more.append(entry("median of the baseline", **DASHED))
    explain(figure, comparison, [group], "disk", more)
    return figure


def _draw_row(axis: Axes, row: int, values: NDArray[np.float64], color: str) -> None:
    values = values[~np.isnan(values)]
    if values.size == 0:
        axis.annotate(
            "not defined in any case",
            (0.5, row),
            xycoords=("axes fraction", "data"),
            ha="center",
            va="center",
            color=MUTED,
            fontsize=7,
        )
        return
    line: dict[str, Any] = {"color": INK, "linewidth": 0.7}
    if values.size > 1:
        axis.boxplot(
            values,
            positions=[row],
            orientation="horizontal",
            widths=0.62,
            showfliers=False,
            manage_ticks=False,
            boxprops=line,
            whiskerprops=line,
            capprops={**line, "linewidth": 0},
            medianprops={"color": INK, "linewidth": 1.4},
        )
    points = axis.scatter(values, row + spread_out(values), s=7, color=color, alpha=0.75, linewidths=0)
    points.set_zorder(2.5)
    axis.plot(
        [values.mean()],
        [row],
        "D",
        markersize=4,
        markerfacecolor="#ffffff",
        markeredgecolor=INK,
        markeredgewidth=0.8,
        zorder=3.5,
    )


def spread_out(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Offsets that keep neighbors apart: the more cases have a value, the wider they lie.

    Points of a bin of values stand in turn above and below the middle, as in a bee swarm; no chance is
    involved, so that the same cases give the same figure.
    """
    if values.size < 2 or np.ptp(values) == 0:
        return np.linspace(-SPREAD, SPREAD, values.size) if values.size > 1 else np.zeros(values.size)
    bins = np.floor((values - values.min()) / np.ptp(values) * 39.999).astype(int)
    offsets = np.zeros(values.size)
    crowd = int(np.bincount(bins).max())
    for index in np.unique(bins):
        members = np.flatnonzero(bins == index)
        members = members[np.argsort(values[members], kind="stable")]
        turns = np.arange(members.size)
        sides = np.where(turns % 2 == 0, 1, -1) * ((turns + 1) // 2)
        offsets[members] = sides * min(0.09, 2 * SPREAD / max(crowd, 1))
    return offsets
