"""The critical-difference diagram of Demšar (2006, JMLR 7:1-30): mean ranks, and bars over what is level."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from semiseg.comparison.report.figures.style import (
    MUTED,
    TWO_COLUMNS,
    color_of,
    drawing,
    new_figure,
    shortened,
)
from semiseg.comparison.result.format import verdict
from semiseg.drawing.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from semiseg.comparison.result import ArmGroup, Comparison, Ranking

ROW, TOP, BAR = 0.2, 0.55, 0.12
"""Inches: of a name, above the line of ranks, of a bar."""
SIDE = 1.75
"""Inches of the names on either side."""


def lacking(group: ArmGroup) -> str:
    """Why the figure cannot be drawn; blank when it can."""
    ranking = group.ranking
    if ranking.why_not:
        return f"No diagram of ranks: {ranking.why_not}."
    if len(ranking.mean_ranks) < 2 or math.isnan(ranking.critical_difference):
        return "Ranks need at least two methods."
    return ""


@drawing
def draw(comparison: Comparison, group: ArmGroup) -> Figure:
    """Mean ranks over cases; see :func:`lacking`.

    The best lies on the left. A bar joins arms whose mean ranks differ by less than the critical difference.
    """
    ranking = group.ranking
    names = list(ranking.mean_ranks)
    half = (len(names) + 1) // 2
    bars = BAR * (len(ranking.cliques) + 1)
    height = TOP + bars + ROW * half + 0.1
    figure = new_figure(TWO_COLUMNS, height)
    figure.set_layout_engine("none")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.set_xlim(0, TWO_COLUMNS)
    axis.set_ylim(height, 0)  # inches from the top
    x = partial(_x, len(names))
    _draw_line(axis, len(names))
    _draw_critical_difference(axis, x(1), x(1 + ranking.critical_difference), ranking, comparison.alpha)
    for place, name in enumerate(names):
        left = place < half
        row = place if left else len(names) - 1 - place
        y = TOP + bars + ROW * (row + 0.5)
        color = color_of(verdict(group, group.arm(name), comparison.alpha))
        _draw_name(axis, x(ranking.mean_ranks[name]), y, left, name, ranking.mean_ranks[name], color)
    for level, clique in enumerate(ranking.cliques):
        ranks = [ranking.mean_ranks[name] for name in clique]
        y = TOP + BAR * (level + 0.9)
        axis.plot(
            [x(min(ranks)) - 0.04, x(max(ranks)) + 0.04],
            [y, y],
            color=INK,
            linewidth=3,
            solid_capstyle="butt",
            gid="clique",
        )
    return figure


def _x(count: int, rank: float) -> float:
    """Inches from the left edge of a rank, 1 on the left to ``count`` on the right."""
    return SIDE + (rank - 1) / (count - 1) * (TWO_COLUMNS - 2 * SIDE)


def _draw_line(axis: Axes, count: int) -> None:
    axis.plot([_x(count, 1), _x(count, count)], [TOP, TOP], color=INK, linewidth=0.8)
    step = max(1, round(count / 12))
    for rank in range(1, count + 1):
        x, labeled = _x(count, rank), (rank - 1) % step == 0
        axis.plot([x, x], [TOP - (0.07 if labeled else 0.04), TOP], color=INK, linewidth=0.8)
        if labeled:
            axis.text(x, TOP - 0.1, str(rank), ha="center", va="bottom", fontsize=7)
    axis.text(_x(count, 1) - 0.12, TOP, "mean rank", ha="right", va="center", fontsize=7, color=MUTED)


def _draw_critical_difference(axis: Axes, start: float, end: float, ranking: Ranking, alpha: float) -> None:
    inside = end <= TWO_COLUMNS - SIDE / 2
    if inside:
        axis.plot([start, end], [0.2, 0.2], color=INK, linewidth=0.8, marker="|", markersize=5)
    text = f"critical difference {ranking.critical_difference:.2f} (Nemenyi, α = {alpha:g})"
    axis.text(end + 0.1 if inside else start, 0.2, text, ha="left", va="center", fontsize=7)


def _draw_name(axis: Axes, x: float, y: float, left: bool, name: str, rank: float, color: str) -> None:
    edge = SIDE - 0.15 if left else TWO_COLUMNS - SIDE + 0.15
    axis.plot([x, x, edge], [TOP, y, y], color=color, linewidth=0.7)
    short = shortened(name, 19)
    text = f"{short}  {rank:.2f}" if left else f"{rank:.2f}  {short}"
    side, shift = ("right", -0.05) if left else ("left", 0.05)
    axis.text(edge + shift, y, text, ha=side, va="center", fontsize=7)
