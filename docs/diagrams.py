"""Pictures of the methods from docs/diagrams.txt: inputs, networks, losses; SVG for light and dark pages."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

SPEC = Path(__file__).with_name("diagrams.txt")
BOX, GAP, LINE = 150, 62, 15
"""Width of a box, space between columns, height of a line of text, in px."""
FILLS = ("#dbe9f9", "#fbe3cf", "#fbe3cf", "#dcefdc")
"""Inputs, networks, what networks make, losses: light enough for dark text on pages of either scheme."""
INK, RULE = "#1f2328", "#7d8590"
FONT = "font-family='system-ui, -apple-system, Segoe UI, Roboto, sans-serif' font-size='12'"
DASHES = {">": "", "-": " stroke-dasharray='6 4'", "~": " stroke-dasharray='1.5 4' stroke-linecap='round'"}


@dataclass
class Box:
    """A box, with the middle of its sides in px."""

    lines: list[str]
    fixed: bool
    x: float = 0
    y: float = 0

    @property
    def height(self) -> float:
        """Of the text and a margin."""
        return len(self.lines) * LINE + 14


@dataclass
class Diagram:
    """Columns of named boxes, and (from, kind, to) arrows."""

    columns: list[dict[str, Box]]
    arrows: list[tuple[str, str, str]]


def read(text: str) -> dict[str, Diagram]:
    """The diagrams of a specification, by method.

    Raises:
        ValueError: an arrow to a box that the diagram does not have, or a box without arrows.
    """
    text = re.sub(r"(?m)^#.*\n", "", text)
    head, _, rest = text.partition("\n\n")
    common = dict(line.split("=", 1) for line in head.splitlines())
    found = {}
    for name, boxes, arrows in re.findall(r"(?m)^(\w+)\n  (.+)\n  (.+)$", rest):
        columns = [dict(_box(word, common) for word in _words(column)) for column in boxes.split(" / ")]
        edges = re.findall(r"(\w+)([>~-])(\w+)", arrows)
        if {end for a, _, b in edges for end in (a, b)} != {key for column in columns for key in column}:
            raise ValueError(f"{name}: arrows and boxes do not match")
        found[name] = Diagram(columns, edges)
    return found


def _words(column: str) -> Iterator[str]:
    """Boxes of a column: names of common boxes by spaces; a text reaches to the next ``|``."""
    for part in column.split(" | "):
        common, mark, text = part.partition("=")
        *names, last = common.split()
        yield from names
        yield last + mark + text


def _box(word: str, common: dict[str, str]) -> tuple[str, Box]:
    key, _, text = word.partition("=")
    text = text or common[key]
    return key, Box(textwrap.wrap(text.rstrip("*"), 22), text.endswith("*"))


def draw(title: str, diagram: Diagram) -> str:
    """One SVG file."""
    tall = max(sum(b.height + 16 for b in column.values()) for column in diagram.columns)
    for number, column in enumerate(diagram.columns):
        free = (tall - sum(b.height for b in column.values())) / len(column)
        y = 4.0
        for box in column.values():
            box.x, box.y = number * (BOX + GAP) + 4, y + free / 2 + box.height / 2
            y += box.height + free
    boxes = {key: box for column in diagram.columns for key, box in column.items()}
    wide = len(diagram.columns) * (BOX + GAP) - GAP + 8
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {wide} {tall + 8:.0f}' "
        f"width='{wide}' height='{tall + 8:.0f}' role='img'>",
        f"<title>{escape(title)}</title>",
        f"<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' "
        f"orient='auto'><path d='M0 0L8 4L0 8z' fill='{RULE}'/></marker></defs>",
        *(_arrow(boxes[a], kind, boxes[b]) for a, kind, b in diagram.arrows),
    ]
    for number, column in enumerate(diagram.columns):
        fill = FILLS[number if number < len(diagram.columns) - 1 else -1]
        for box in column.values():
            parts += _drawn(box, fill)
    return "\n".join([*parts, "</svg>", ""])


def _arrow(a: Box, kind: str, b: Box) -> str:
    if a.x == b.x:
        up = b.y < a.y
        middle, end = a.x + BOX / 2, b.height / 2 * (1 if up else -1)
        line = f"M{middle} {a.y:.1f}L{middle} {b.y + end:.1f}"
    else:
        start, end = a.x + BOX, b.x
        line = f"M{start} {a.y:.1f}C{start + 30} {a.y:.1f} {end - 34} {b.y:.1f} {end} {b.y:.1f}"
    ink = f"fill='none' stroke='{RULE}' stroke-width='1.5'{DASHES[kind]}"
    return f"<path d='{line}' {ink} marker-end='url(#tip)'/>"


def _drawn(box: Box, fill: str) -> Iterator[str]:
    dashed = " stroke-dasharray='4 3'" if box.fixed else ""
    yield (
        f"<rect x='{box.x}' y='{box.y - box.height / 2:.1f}' width='{BOX}' height='{box.height}' rx='5' "
        f"fill='{fill}' stroke='{RULE}'{dashed}/>"
    )
    for number, line in enumerate(box.lines):
        y = box.y + (number - (len(box.lines) - 1) / 2) * LINE + 4
        place = f"x='{box.x + BOX / 2}' y='{y:.1f}' fill='{INK}' text-anchor='middle'"
        yield f"<text {place} {FONT}>{escape(line)}</text>"


def drawings() -> dict[str, str]:
    """Method -> its SVG."""
    return {name: draw(name, diagram) for name, diagram in read(SPEC.read_text("utf-8")).items()}
