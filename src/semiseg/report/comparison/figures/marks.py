"""What colors, signs and labels mean, the same in every figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from semiseg.report.comparison.paper import BETTER, MUTED, WORSE, shortened
from semiseg.report.comparison.words import Verdict, verdict
from semiseg.report.palette import INK

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

    from semiseg.comparison.arm import Arm
    from semiseg.comparison.result import Board, Comparison

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


def label_of(board: Board, arm: Arm) -> str:
    """The arm's name, with what it is to the others."""
    if arm.bound == "upper":
        return f"all {arm.labeled} labels"
    name = shortened(arm.name, 24)
    return f"{name}, baseline" if arm.name == board.baseline else name


def explain(
    figure: Figure,
    comparison: Comparison,
    boards: Sequence[Board],
    mark: Mark,
    more: Sequence[Artist] = (),
) -> None:
    """Put below a figure what its colors say, those alone that are in it.

    Args:
        figure: with a constrained layout, which makes room.
        comparison: gives the metric that was tested, and alpha.
        boards: of the arms; of one dataset.
        mark: what carries the color in this figure.
        more: further entries of the legend.
    """
    found = {verdict(board, arm, comparison.alpha) for board in boards for arm in board.arms}
    handles = [
        entry(text, **_style(kind, mark))
        for kind, text in _words(comparison, boards).items()
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


def _words(comparison: Comparison, boards: Sequence[Board]) -> dict[Verdict, str]:
    baseline = next((shortened(board.baseline, 20) for board in boards if board.baseline is not None), "")
    metric = comparison.metric
    return {
        "better": f"better than {baseline} in {metric}",
        "worse": f"worse than {baseline} in {metric}",
        "open": f"no difference in {metric} shown",
    }
