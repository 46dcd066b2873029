"""``trials.svg``: the scores in their order, and against each value that was searched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.atomic import replacing
from semiseg.report.palette import COLOR_BLIND_SAFE, INK
from semiseg.tuning.axes import Axis, Choice
from semiseg.tuning.entry import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from semiseg.tuning.tune import Tuned

POINT, LINE = COLOR_BLIND_SAFE[6], COLOR_BLIND_SAFE[5]
ACROSS = 3


def draw(tuned: Tuned, path: Path) -> None:
    """Write the figure; nothing where no trial is scored."""
    scored = [entry for entry in tuned.entries if entry.score is not None]
    if not scored:
        return
    import matplotlib as mpl
    from matplotlib.figure import Figure

    axes = tuned.outline.search.axes
    down = -(-(len(axes) + 1) // ACROSS)
    # A fixed salt and no date: the same trials give the same file.
    with mpl.rc_context({"svg.hashsalt": "semiseg", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(4 * ACROSS, 2.8 * down), layout="constrained")
        panels = list(figure.subplots(down, ACROSS, squeeze=False).flat)
        _history(panels[0], tuned, scored)
        for panel, (name, axis) in zip(panels[1:], axes.items(), strict=False):
            _slice(panel, name, axis, scored, tuned)
        for panel in panels[len(axes) + 1 :]:
            panel.set_visible(False)
        for panel in panels:
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(visible=True, color="#dddddd", linewidth=0.6)
            panel.set_axisbelow(True)
        with replacing(path) as temporary:
            figure.savefig(temporary, metadata={"Date": None})


def _history(panel: Axes, tuned: Tuned, scored: Sequence[Entry]) -> None:
    metric = tuned.outline.metric
    best = max if metric.higher_is_better else min
    so_far: list[float] = []
    for entry in scored:
        so_far.append(best([*so_far[-1:], entry.score or 0.0]))
    numbers = [entry.number for entry in scored]
    panel.plot(
        numbers, [entry.score or 0.0 for entry in scored], "o", color=POINT, markersize=4, label="a trial"
    )
    panel.step(numbers, so_far, where="post", color=INK, linewidth=1.2, label="best so far")
    _level(panel, scored)
    panel.set(xlabel="trial", ylabel=str(metric))
    panel.legend(fontsize=8, frameon=False)


def _slice(panel: Axes, name: str, axis: Axis, scored: Sequence[Entry], tuned: Tuned) -> None:
    told = [(entry.values[name], entry.score or 0.0) for entry in scored if name in entry.values]
    x: list[Any] = [value for value, _ in told]
    if isinstance(axis, Choice):
        x = [axis.values.index(value) for value in x]
        panel.set_xticks(range(len(axis.values)), [str(value) for value in axis.values])
        panel.set_xlim(-0.5, len(axis.values) - 0.5)
    elif axis.log:
        panel.set_xscale("log")
    panel.plot(x, [score for _, score in told], "o", color=POINT, markersize=4)
    _level(panel, scored)
    panel.set(xlabel=name, ylabel=str(tuned.outline.metric))


def _level(panel: Axes, scored: Sequence[Entry]) -> None:
    """The start, as a line to compare with."""
    start = next((entry for entry in scored if entry.start), None)
    if start is not None and start.score is not None:
        panel.axhline(start.score, color=LINE, linewidth=1, linestyle="--", label="the start")
