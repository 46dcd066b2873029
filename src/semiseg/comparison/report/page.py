"""The report as one HTML file, from ``page.html.j2``: nothing in it is fetched from anywhere.

Its figures are SVG inside the page, whose colors follow the light or dark theme.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from semiseg.__about__ import __version__
from semiseg.comparison.report import tables
from semiseg.comparison.report.examples import PIXELS, Example
from semiseg.comparison.report.figures.style import THEMED, Rendered
from semiseg.comparison.report.gallery import Plate, slugs
from semiseg.comparison.result.format import DASH, by_value, digits, listed, number, reading_of, titled
from semiseg.drawing.palette import colors
from semiseg.errors import plural
from semiseg.evaluation.case import DISTANCES

if TYPE_CHECKING:
    from semiseg.comparison.result import ArmGroup, Comparison, RunScores


HEADINGS = {
    "differences": "Difference to the baseline",
    "boxes": "Every case",
    "critical_difference": "Ranks",
    "pairs": "Every method against every other",
    "curves_dice": "Validation curves",
    "curves_loss": "Training curves",
}


@dataclass(frozen=True)
class Drawn:
    """What the page shows beside numbers."""

    groups: Mapping[int, list[tuple[Plate, Rendered | None]]]
    """Index of a group -> its figures."""
    datasets: Mapping[str, list[tuple[Plate, Rendered | None]]]
    examples: Callable[[ArmGroup, str], list[Example] | None]
    """Pictures of an arm; None where there would be too many."""


def page(comparison: Comparison, drawn: Drawn) -> str:
    """The whole HTML text of a comparison with its figures and pictures."""
    style, script = _own("page.css"), _own("page.js")
    # Names of methods, variants and cases come from users' files: all that is not Markup is escaped.
    house = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    runs = {run.folder: run for group in comparison.groups for arm in group.arms for run in arm.runs}
    made: dict[str, Counter[str]] = {}
    for run in runs.values():
        for key, value in _facts_of(run):
            made.setdefault(key, Counter())[value] += 1
    text = house.from_string(_own("page.html.j2")).render(
        comparison=comparison,
        title=title_of(comparison),
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        facts=_facts(comparison),
        notes=_notes(comparison),
        groups=[_group(comparison, group, drawn, i) for i, group in enumerate(comparison.groups)],
        datasets=drawn.datasets,
        level=tables.level(comparison),
        runs=list(runs.values()),
        made=made,
        version=__version__,
        headings=HEADINGS,
        metric_title=titled(comparison, comparison.metric),
        places=digits(comparison.metric),
        pixels=PIXELS,
        slugs=slugs(comparison.datasets),
        count=plural,
        number=number,
        inline_svg=inline_svg,
        base64=_base64,
    )
    return f"{text.strip()}\n"


def title_of(comparison: Comparison) -> str:
    """``11 methods on Dataset104_Hippocampus``."""
    names = {arm.name for group in comparison.groups for arm in group.arms if arm.bound != "upper"}
    return f"{plural(len(names), 'method')} on {listed(list(comparison.datasets)) or 'no dataset'}"


def _own(name: str) -> str:
    return resources.files("semiseg.comparison.report").joinpath(name).read_text(encoding="utf-8")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _policy(style: str, script: str) -> str:
    """The content security policy: nothing is loaded, and only our own style and script run."""
    ours, run = (_base64(hashlib.sha256(text.encode()).digest()) for text in (style, script))
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{ours}'; script-src 'sha256-{run}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """What was compared, in a few words each."""
    groups = comparison.groups
    runs = [run for group in groups for arm in group.arms for run in arm.runs]
    distances = any(metric in DISTANCES for metric in comparison.metrics)
    yield "labels", _distinct(group.budget for group in groups)
    yield "baseline", _distinct(group.baseline or DASH for group in groups)
    own = (arm for group in groups for arm in group.arms if arm.bound != "upper")
    yield "seeds per method", _range(len(arm.seeds) for arm in own)
    yield "cases scored", _distinct(f"{len(group.cases)} {group.source}" for group in groups)
    yield "iterations", _range(run.iterations for run in runs)
    yield "protocol", _distinct(str(run.manifest.get("protocol") or DASH) for run in runs)
    yield "weights", _distinct(str(run.manifest.get("selection") or DASH) for run in runs)
    unit = f", distances in {comparison.unit}" if distances else ""
    yield "metric convention", f"{comparison.convention}{unit}"


def _distinct(values: Iterable[str]) -> str:
    return listed(list(dict.fromkeys(values)), most=8)


def _range(values: Iterable[int]) -> str:
    known = sorted(set(values))
    return f"{known[0]} to {known[-1]}" if len(known) > 1 else "".join(map(str, known))


def _notes(comparison: Comparison) -> list[str]:
    """Notices, none twice."""
    several = len(comparison.groups) > 1
    own = (
        f"{_title(group)}: {text}" if several else text
        for group in comparison.groups
        for text in group.notices
    )
    return list(dict.fromkeys([*comparison.notices, *own]))


def _title(group: ArmGroup) -> str:
    return f"{group.dataset}, {group.budget}"


def _group(comparison: Comparison, group: ArmGroup, drawn: Drawn, index: int) -> dict[str, Any]:
    """The section of a group."""
    examples = {arm.name: drawn.examples(group, arm.name) for arm in group.arms}
    return {
        "title": _title(group),
        "budget": group.budget,
        "reading": " ".join(reading_of(comparison, group)),
        "tables": [(metric, tables.of_metric(comparison, group, metric)) for metric in comparison.metrics],
        "classes": tables.classes(comparison, group) if len(group.classes) > 1 else None,
        "papers": tables.papers(comparison, group),
        "pairs": tables.pairs(comparison, group) if group.pairs else None,
        "figures": drawn.groups[index],
        "legend": list(zip(group.classes, colors(len(group.classes)), strict=True)),
        "examples": [(arm, found) for arm in group.arms if (found := examples[arm.name]) is not None],
        "left_out": [name for name, found in examples.items() if found is None],
        "settings": list(_settings(group)),
    }


def _settings(group: ArmGroup) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(setting, its values and whose they are), the value of most arms last."""
    for found in group.differences:
        arms = by_value(found)
        usual = next((value for value, names in arms.items() if 2 * len(names) > len(found.values)), None)
        shown = sorted(arms.items(), key=lambda item: item[0] == usual)
        yield found.key, [(v, "all others" if v == usual else listed(names, most=40)) for v, names in shown]


def _facts_of(run: RunScores) -> Iterator[tuple[str, str]]:
    """Versions, machine, number format and hashes that a run recorded."""
    manifest = run.manifest
    yield "semiseg", str(manifest.get("semiseg", "unknown"))
    git = manifest.get("git") or {}
    if git.get("commit"):
        yield "commit", f"{git['commit']}{' with local changes' if git.get('modified') else ''}"
    yield "Python", str(manifest.get("python", "unknown"))
    packages = manifest.get("packages") or {}
    yield "packages", ", ".join(f"{name} {version}" for name, version in packages.items()) or "unknown"
    yield "platform", str(manifest.get("platform", "unknown"))
    found = manifest.get("hardware") or {}
    machine = [*map(str, found.get("gpus") or []), str(found.get("cpu", "unknown CPU"))]
    machine += [f"{found.get('cores', '?')} cores", f"{found.get('threads', '?')} threads"]
    yield "hardware", ", ".join(machine)
    yield "number format", str(manifest.get("precision", "unknown"))
    yield from (("deviation from strict", str(deviation)) for deviation in manifest.get("deviations") or ())
    yield "files of the data, SHA-256", str(manifest.get("data_sha256", "unknown"))
    yield "lists of cases, SHA-256", str(manifest.get("split_sha256", "unknown"))


_XLINK = "{http://www.w3.org/1999/xlink}"
_REFERENCE = re.compile(r"#([^)]+)")
_NUMBER = re.compile(r"(\.\d{2})\d+")
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
    # The page says which font; matplotlib's is wide, so that others fit where it stood.
    return [(key, value) for key, value in found if key != "font-family"]


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
