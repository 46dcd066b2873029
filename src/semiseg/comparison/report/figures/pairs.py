"""Every arm against every other: the share of cases that it wins, and whether that is more than chance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from semiseg.comparison.report.figures.style import (
    BETTER,
    MUTED,
    ON_COLOR,
    RULE,
    TWO_COLUMNS,
    WORSE,
    drawing,
    new_figure,
    shortened,
)
from semiseg.comparison.result.format import p_value
from semiseg.drawing.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from semiseg.comparison.result import ArmGroup, Comparison, PairTest

CELL = (0.25, 0.5)
"""Smallest and largest edge of a cell in inches."""
NAMES = 1.5


def lacking(group: ArmGroup) -> str:
    """Why the figure cannot be drawn; blank when it can."""
    return "" if group.pairs else "There is only one method."


@drawing
def draw(comparison: Comparison, group: ArmGroup) -> Figure:
    """A matrix: the row's share of won cases below the diagonal, Holm's p above it; see :func:`lacking`."""
    tests = {frozenset((test.a, test.b)): test for test in group.pairs}
    paired = {name for pair in tests for name in pair}
    names = [arm.name for arm in group.arms if arm.name in paired]
    cell = min(CELL[1], max(CELL[0], (TWO_COLUMNS - NAMES) / len(names)))
    side = cell * len(names)
    figure = new_figure(max(NAMES + side + 0.1, 3.4), side + NAMES * 0.75)
    axis = figure.add_subplot()
    small = min(7.0, cell * 72 / 4.6)
    for i, row in enumerate(names):
        for j, column in enumerate(names):
            test = tests.get(frozenset((row, column)))
            if test is not None:
                _draw_cell(axis, (i, j), row, test, comparison.alpha, small)
    _frame(axis, names)
    return figure


def _draw_cell(
    axis: Axes, place: tuple[int, int], row: str, test: PairTest, alpha: float, size: float
) -> None:
    from matplotlib.patches import Rectangle

    i, j = place
    known = not math.isnan(test.p_holm)
    if i < j:
        weight = "bold" if known and test.p_holm < alpha else "normal"
        color = INK if weight == "bold" else MUTED
        text = p_value(test.p_holm).replace("< 0.", "<.").replace("0.", ".", 1).removesuffix(".000")
        face = "#ffffff"
    else:
        rate = test.win_rate if test.a == row else 1 - test.win_rate
        weight, color, face = "normal", ON_COLOR, _shade(rate)
        text = "–" if math.isnan(rate) else f"{100 * rate:.0f}"
    axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=face, edgecolor=RULE, linewidth=0.5))
    axis.text(j, i, text, ha="center", va="center", fontsize=size, color=color, fontweight=weight)


def _shade(rate: float) -> str:
    """White at one half, towards blue where the row wins, towards vermilion where it loses."""
    from matplotlib.colors import to_hex, to_rgb

    if math.isnan(rate):
        return "#eeeeee"
    strong = to_rgb(BETTER if rate > 0.5 else WORSE)
    share = 0.7 * abs(rate - 0.5) * 2
    red, green, blue = (1 - share * (1 - part) - 0.02 for part in strong)
    return to_hex((red, green, blue))


def _frame(axis: Axes, names: list[str]) -> None:
    labels = [shortened(name, 20) for name in names]
    axis.set_xlim(-0.52, len(names) - 0.48)
    axis.set_ylim(len(names) - 0.48, -0.52)
    axis.set_aspect("equal")
    axis.set_xticks(range(len(names)), labels, rotation=90 if len(names) > 4 else 45, ha="center")
    if len(names) <= 4:
        for label in axis.get_xticklabels():
            label.set_horizontalalignment("left")
    axis.set_yticks(range(len(names)), labels)
    axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axis.spines[:].set_visible(False)
    axis.set_xlabel(
        "below: cases that the row wins against the column, in %\nabove: p (Holm), bold where significant"
    )
