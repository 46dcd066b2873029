"""A matplotlib figure as an SVG element inside an HTML page, in the page's colors.

The stand-alone SVG file keeps its own colors; here ink, rules and paper become the page's, so that a figure
follows light and dark. Styles become presentation attributes, since the page's content policy allows no
inline style. Ids that nothing refers to go away, the others get a prefix: a page has many figures.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup

from semiseg.comparison.report.figures.style import THEMED, Rendered

if TYPE_CHECKING:
    from semiseg.comparison.report.gallery import Plate

_XLINK = "{http://www.w3.org/1999/xlink}"
_REFERENCE = re.compile(r"#([^)]+)")
_NUMBER = re.compile(r"(\.\d{2})\d+")
_DROPPED = ("font-family",)
"""The page says which font; matplotlib's is wide, so that others fit where it stood."""


SCALE = 1.3 * 4 / 3
"""Points to CSS pixels, somewhat larger than in print."""


def inline_svg(drawing: Rendered, plate: Plate) -> Markup:
    """The figure as one ``<svg>`` element; its name is the prefix of the ids, unique in the page."""
    root = ElementTree.fromstring(drawing.svg)
    _simplify(root, plate.name)
    width, height = (float(root.attrib.pop(key).removesuffix("pt")) for key in ("width", "height"))
    root.set("width", f"{width * SCALE:.0f}")
    root.set("height", f"{height * SCALE:.0f}")
    root.set("class", "wide" if drawing.wide else "narrow")
    root.set("role", "img")
    root.set("aria-label", plate.alternative)
    # The serializer has escaped what is text; the figure itself is ours.
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _simplify(root: ElementTree.Element, name: str) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    used = {
        match
        for element in root.iter()
        for key, value in element.attrib.items()
        if key in (f"{_XLINK}href", "clip-path")
        for match in _REFERENCE.findall(value)
    }
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = dict(_attributes(element, name, used))
        element.tail = None
        if element.tag != "text":
            element.text = None
    _drop_empty(root)


def _attributes(element: ElementTree.Element, name: str, used: set[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in element.attrib.items():
        if key == "style":
            found += _styles(value)
        elif key == "id":
            found += [("id", f"{name}-{value}")] if value in used else []
        elif key in (f"{_XLINK}href", "clip-path"):
            # A data: picture inside the figure is no reference to an element.
            own = value if value.startswith("data:") else _REFERENCE.sub(rf"#{name}-\1", value)
            found.append((_local(key), own))
        elif key in ("d", "x", "y", "points", "transform"):
            found.append((key, _NUMBER.sub(r"\1", " ".join(value.split()))))
        else:
            found.append((_local(key), value))
    return [(key, value) for key, value in found if key not in _DROPPED]


def _styles(style: str) -> list[tuple[str, str]]:
    pairs = (entry.partition(":")[::2] for entry in style.split(";") if entry.strip())
    return [(key.strip(), THEMED.get(value.strip().lower(), value.strip())) for key, value in pairs]


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _drop_empty(element: ElementTree.Element) -> None:
    for child in list(element):
        _drop_empty(child)
        if child.tag in ("g", "defs") and len(child) == 0:
            element.remove(child)
