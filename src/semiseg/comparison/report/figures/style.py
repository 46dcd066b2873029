"""How figures look: sizes of a journal's columns, type, lines and the few colors that carry a meaning.

With the marks that several figures draw: an arm's color and line, axes, notes.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

from semiseg.comparison.result.format import Verdict, verdict
from semiseg.drawing.palette import COLOR_BLIND_SAFE, INK
from semiseg.errors import plural

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from semiseg.comparison.result import Arm, ArmGroup, Comparison


ONE_COLUMN, TWO_COLUMNS = 3.5, 7.16
"""Inches: what most journals print."""

PAPER, MUTED, RULE, QUIET = "#ffffff", "#5f6b76", "#d9dee3", "#a9b2bb"
BETTER, WORSE = COLOR_BLIND_SAFE[6], COLOR_BLIND_SAFE[5]
"""Blue and vermilion: they differ in lightness, too, and a sign or a word always says the same."""
ON_COLOR = "#111111"
"""Text on a colored cell, which stays as it is when the page turns dark."""

THEMED = {
    INK: "currentColor",
    "#000000": "currentColor",
    PAPER: "var(--paper)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    QUIET: "var(--quiet)",
    BETTER.lower(): "var(--better)",
    WORSE.lower(): "var(--worse)",
}
"""Color in a figure -> color in the page (see :mod:`semiseg.comparison.report.page`)."""

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "figure.dpi": 72,
    "text.parse_math": False,  # a $ in a user's name is a dollar
    "text.usetex": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "semiseg",  # the same figure is the same file
    "pdf.fonttype": 42,  # the font is embedded, and text can be edited
}

P = ParamSpec("P")


def drawing(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function draw in our style, whatever a user's matplotlib is set to."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        from matplotlib import rc_context, rcdefaults

        with rc_context():
            rcdefaults()
            with rc_context(STYLE):
                return draw(*args, **kwargs)

    return styled


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, whose parts make room for one another."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


@dataclass(frozen=True)
class Rendered:
    """A figure as the contents of its files."""

    svg: bytes
    pdf: bytes
    wide: bool
    """Whether it takes two columns."""


def rendered(figure: Figure) -> Rendered:
    """SVG with text as text and PDF with fonts embedded; neither has a date, so that the same figure is the
    same file.
    """
    from matplotlib import rc_context

    svg, pdf = io.BytesIO(), io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "semiseg"})
        figure.set_layout_engine("none")  # it has been laid out, which takes most of the time
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Creator": "semiseg"})
    return Rendered(svg.getvalue(), pdf.getvalue(), figure.get_figwidth() > 1.2 * ONE_COLUMN)


def shortened(name: str, length: int = 28) -> str:
    """A name as a label: what cannot be printed becomes a question mark, the middle of a long one dots."""
    printable = "".join(c if c.isprintable() else "?" for c in name)
    if len(printable) <= length:
        return printable
    half = (length - 1) // 2
    return f"{printable[: length - 1 - half]}…{printable[-half:]}"


def rows_of_names(axis: Axes, names: list[str]) -> None:
    """Names down the left side of an axis, the first on top, without ticks."""
    axis.set_yticks(range(len(names)), [shortened(name) for name in names])
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)


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
        return f"all {plural(arm.labeled, 'label')}"
    name = shortened(arm.name, 24)
    return f"{name}, baseline" if arm.name == group.baseline else name


def explain(
    figure: Figure,
    comparison: Comparison,
    groups: Sequence[ArmGroup],
    mark: Mark,
    more: Sequence[Artist] = (),
) -> None:
    """Put below a figure what its colors say, those alone that are in it."""
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
    """One panel per name with shared axes, at most five side by side; spare places stay empty."""
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
