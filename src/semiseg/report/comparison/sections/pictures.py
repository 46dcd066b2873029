"""Figures and pictures as HTML."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from semiseg.report.comparison.examples import PIXELS, Example
from semiseg.report.comparison.html import Markup, tag
from semiseg.report.comparison.inline_svg import inline_svg
from semiseg.report.comparison.words import digits, number, titled
from semiseg.report.palette import colors

if TYPE_CHECKING:
    from semiseg.comparison.arm import Arm
    from semiseg.comparison.result import Board, Comparison
    from semiseg.report.comparison.gallery import Plate
    from semiseg.report.comparison.paper import Rendered


def plate(entry: Plate, drawn: Rendered | None) -> Markup:
    """A figure with its caption, or why there is none."""
    if drawn is None:
        return tag("p", entry.lacking, class_="note")
    class_ = "wide" if drawn.wide else "narrow"
    drawing = inline_svg(drawn.svg, entry.name, entry.alternative, class_=class_)
    return tag(
        "figure",
        tag(
            "div", drawing, class_="scroll", tabindex=0, role="region", aria_label=entry.caption.split(":")[0]
        ),
        tag(
            "figcaption",
            entry.caption,
            " ",
            tag("code", f"figures/{entry.name}.svg"),
            ", ",
            tag("code", ".pdf"),
        ),
    )


def legend(labels: Sequence[str]) -> Markup:
    """Which color is which class, and which line which label map."""
    entries = [
        tag("li", _line(color, ""), name) for name, color in zip(labels, colors(len(labels)), strict=True)
    ]
    lines = [
        tag("li", _line("currentColor", ""), "prediction"),
        tag("li", _line("currentColor", "4 3"), "reference"),
    ]
    return tag("ul", entries, lines, class_="legend")


def examples(comparison: Comparison, board: Board, arm: Arm, found: Iterable[Example]) -> Markup:
    """Worst, median and best case of an arm side by side."""
    metric = comparison.metric
    shown = []
    for entry in found:
        value = number(entry.value, digits(metric))
        words = f"{entry.case}, {titled(comparison, metric)} {value}"
        alternative = f"{entry.kind} case of {arm.name}, {words}: contours of reference and prediction"
        picture = (
            _picture(entry.picture, alternative)
            if entry.picture
            else tag("p", f"No picture: {entry.why_not}.")
        )
        shown.append(tag("figure", picture, tag("figcaption", tag("b", entry.kind), words)))
    if not shown:
        shown = [tag("p", f"No case of {arm.name} has a defined {metric}.", class_="note")]
    return tag(
        "section", tag("h4", f"{arm.name}, seed {arm.runs[0].seed}"), tag("div", shown, class_="examples")
    )


def _picture(webp: bytes, alternative: str) -> Markup:
    source = f"data:image/webp;base64,{base64.b64encode(webp).decode('ascii')}"
    return tag("img", src=source, alt=alternative, width=PIXELS, height=PIXELS)


def _line(color: str, dashes: str) -> Markup:
    return tag(
        "svg",
        tag("line", x1=0, y1=5, x2=30, y2=5, stroke=color, stroke_width=3, stroke_dasharray=dashes or None),
        viewBox="0 0 30 10",
        aria_hidden="true",
    )
