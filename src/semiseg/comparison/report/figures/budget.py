"""The metric against the number of labels: one line per arm, between supervised and all labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from semiseg.comparison.report.figures.style import (
    MUTED,
    QUIET,
    color_of,
    drawing,
    entry,
    explain,
    marker_of,
    shortened,
    small_panels,
)
from semiseg.comparison.result.format import titled, verdict
from semiseg.drawing.palette import INK
from semiseg.errors import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from semiseg.comparison.result import ArmGroup, Comparison

GHOST: dict[str, Any] = {"color": QUIET, "marker": "s", "markersize": 3, "linewidth": 1.2}
DASHED: dict[str, Any] = {"color": MUTED, "linewidth": 0.8, "linestyle": (0, (4, 3))}
Points = list[tuple[int, float, float]]
"""Labeled cases, mean, and SD over replicates (NaN for one)."""


def lacking(comparison: Comparison, dataset: str) -> str:
    """Why the figure cannot be drawn; blank when it can."""
    if len(comparison.budgets(dataset)) < 2:
        return "A curve needs runs with at least two numbers of labels."
    return ""


@drawing
def draw(comparison: Comparison, dataset: str, metric: str) -> Figure:
    """One panel per arm, with the baseline in gray and the upper bound dashed; see :func:`lacking`.

    A point has the color of the test at its number of labels; its bar is the SD over seeds.
    """
    groups = comparison.budgets(dataset)
    baseline = next((group.baseline for group in groups if group.baseline is not None), None)
    lines = {name: points_of(groups, name, metric) for name in names_of(groups)}
    names = [name for name in lines if lines[name] and name != baseline] or list(lines)
    figure, axes = small_panels(names, "labeled cases")
    upper = upper_of(groups, metric)
    for axis, name in zip(axes, names, strict=True):
        if upper is not None:
            axis.axhline(upper[1], gid="upper", **DASHED)
        if baseline is not None and name != baseline:
            _draw_line(axis, lines[baseline], QUIET, "s")
        _draw_line(axis, lines[name], MUTED, "")
        _draw_verdicts(axis, comparison, groups, name, lines[name])
    budgets = sorted({count for points in lines.values() for count, _, _ in points})
    axes[0].set_xscale("log", base=2)
    axes[0].set_xticks(budgets, [str(count) for count in budgets])
    axes[0].minorticks_off()
    figure.supylabel(titled(comparison, metric), fontsize=8, color=INK)
    legend = [entry(f"baseline: {shortened(baseline, 20)}", **GHOST)] if baseline is not None else []
    if (upper := upper_of(groups, metric)) is not None:
        legend.append(entry(f"supervised with all {plural(upper[0], 'label')}", **DASHED))
    explain(figure, comparison, groups, "triangle", legend)
    return figure


def _draw_verdicts(
    axis: Axes, comparison: Comparison, groups: Sequence[ArmGroup], name: str, points: Points
) -> None:
    places = {count: mean for count, mean, _ in points}
    for group in groups:
        arm = next((arm for arm in group.arms if arm.name == name and arm.bound != "upper"), None)
        if arm is not None and group.labeled in places:
            found = verdict(group, arm, comparison.alpha)
            style: dict[str, Any] = {"color": color_of(found), "marker": marker_of(found), "markersize": 4.5}
            axis.plot([group.labeled], [places[group.labeled]], gid="arm", **style)


def names_of(groups: Sequence[ArmGroup]) -> list[str]:
    """All arms but the upper bounds."""
    return list(dict.fromkeys(arm.name for group in groups for arm in group.arms if arm.bound != "upper"))


def points_of(groups: Sequence[ArmGroup], name: str, metric: str) -> Points:
    """What an arm reached with each number of labels."""
    found: Points = []
    for group in groups:
        for arm in group.arms:
            if arm.name == name and arm.bound != "upper":
                summary = group.summary(name, metric)
                if not math.isnan(summary.mean):
                    found.append((group.labeled, summary.mean, summary.sd))
    return found


def upper_of(groups: Sequence[ArmGroup], metric: str) -> tuple[int, float] | None:
    """Labeled cases and mean of supervised training with all labels."""
    for group in groups:
        if group.upper is not None:
            summary = group.summary(group.upper.name, metric)
            if not math.isnan(summary.mean):
                return group.upper.labeled, summary.mean
    return None


def _draw_line(axis: Axes, points: Points, color: str, marker: str) -> None:
    counts, means, spreads = zip(*points, strict=True) if points else ((), (), ())
    axis.plot(counts, means, color=color, marker=marker, markersize=3, linewidth=1.2, gid="line")
    for count, mean, sd in zip(counts, means, spreads, strict=True):
        if not math.isnan(sd):
            axis.plot([count, count], [mean - sd, mean + sd], color=color, linewidth=0.8, gid="sd")
