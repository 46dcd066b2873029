"""Training curves: one panel per arm, one thin line per run, their mean as a thick one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semiseg.comparison.report.figures.style import QUIET, color_of, drawing, explain, label_of, small_panels
from semiseg.comparison.result.format import verdict
from semiseg.drawing.palette import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from semiseg.comparison.result import Arm, ArmGroup, Comparison, RunScores

LOSS, DICE = "loss", "val/dice"
POINTS = 80
"""Of a curve at most; more are averaged."""

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def lacking(group: ArmGroup, quantity: str) -> str:
    """Why the figure cannot be drawn; blank when it can."""
    if any(curve_of(run, quantity)[0].size for arm in group.arms for run in arm.runs):
        return ""
    if quantity == DICE:
        return "No run had validation cases, so there is no validation curve."
    return "No run has a log of its training."


@drawing
def draw(comparison: Comparison, group: ArmGroup, quantity: str) -> Figure:
    """Curves of the loss or of the validation Dice; see :func:`lacking`."""
    figure, axes = small_panels([label_of(group, arm) for arm in group.arms], "iteration")
    for axis, arm in zip(axes, group.arms, strict=True):
        if quantity == DICE and group.baseline not in (None, arm.name):
            _draw_mean(axis, group.arm(group.baseline), quantity, QUIET)
        color = color_of(verdict(group, arm, comparison.alpha))
        for run in arm.runs:
            axis.plot(*curve_of(run, quantity), color=color, linewidth=0.6, alpha=0.6, gid="run")
        _draw_mean(axis, arm, quantity, color)
        if not axis.lines:
            axis.annotate(
                "no values", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", fontsize=7
            )
    losses = [curve_of(run, LOSS)[1] for arm in group.arms for run in arm.runs]
    if quantity == LOSS and (np.concatenate(losses) > 0).all():
        _decades(axes[0])
    explain(figure, comparison, [group], "line")
    figure.supylabel("training loss" if quantity == LOSS else "validation Dice", fontsize=8, color=INK)
    return figure


def curve_of(run: RunScores, quantity: str) -> Curve:
    """Steps and values of a run's log, thinned to at most :data:`POINTS` means of neighbors."""
    rows = [(row["step"], row[quantity]) for row in run.curve if quantity in row]
    found = np.array([(float(step), float(value)) for step, value in rows], np.float64).reshape(-1, 2)
    found = found[np.isfinite(found).all(axis=1)]
    if len(found) > POINTS:
        parts = np.array_split(found, POINTS)
        found = np.array([part.mean(axis=0) for part in parts])
    return found[:, 0], found[:, 1]


def _draw_mean(axis: Axes, arm: Arm, quantity: str, color: str) -> None:
    curves = [curve for run in arm.runs if (curve := curve_of(run, quantity))[0].size]
    if not curves:
        return
    if any(len(steps) != len(curves[0][0]) or (steps != curves[0][0]).any() for steps, _ in curves):
        return  # logged at other steps: there is no mean to show
    mean = np.mean([values for _, values in curves], axis=0)
    axis.plot(curves[0][0], mean, color=color, linewidth=1.4, gid="mean")


def _decades(axis: Axes) -> None:
    """A logarithmic axis whose few ticks are plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 100 else (1.0, 2.0, 5.0), numticks=8))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
