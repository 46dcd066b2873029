"""How figures look: sizes of a journal's columns, type, lines and the few colors that carry a meaning."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec

from semiseg.drawing.palette import COLOR_BLIND_SAFE, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
"""Color in a figure -> color in the page (see :mod:`semiseg.comparison.report.svg`)."""

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
