"""The report as one HTML file: nothing in it is fetched from anywhere.

The top of the page: what was compared, in one line and a few facts.

Plain tables of the page: those of the other formats, settings that differ, missing runs.

Figures and pictures as HTML.

Where the numbers come from: versions, hardware, commits, hashes, commands.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from semiseg.__about__ import __version__
from semiseg.comparison.report import tables as comparison_lists
from semiseg.comparison.report import tables as comparison_tables
from semiseg.comparison.report.examples import PIXELS, Example
from semiseg.comparison.report.gallery import Plate, slug
from semiseg.comparison.report.html import Child, Content, Markup, join, raw, tag
from semiseg.comparison.report.style import Rendered
from semiseg.comparison.report.svg import inline_svg
from semiseg.comparison.report.tables import table
from semiseg.comparison.report.words import DASH, count, digits, listed, number, reading_of, titled
from semiseg.drawing.palette import colors
from semiseg.evaluation.case import DISTANCES

if TYPE_CHECKING:
    from semiseg.comparison.result import Arm, Board, Comparison, MissingCell, RunScores
    from semiseg.drawing.table import Table


def title_of(comparison: Comparison) -> str:
    """``11 methods on Dataset104_Hippocampus``."""
    names = {arm.name for board in comparison.boards for arm in board.arms if arm.bound != "upper"}
    return f"{count(len(names), 'method')} on {listed(list(comparison.datasets)) or 'no dataset'}"


def head(comparison: Comparison) -> Markup:
    """Title and facts."""
    facts = [(name, value) for name, value in _facts(comparison).items() if value]
    return tag(
        "header",
        tag("button", "Light / dark", id="theme", type="button", hidden=True),
        tag("h1", title_of(comparison)),
        tag(
            "p",
            f"Compared case by case in {comparison.metric}. Every number comes from the runs' own files.",
            class_="note",
        ),
        tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts], class_="facts"),
    )


def _facts(comparison: Comparison) -> dict[str, str]:
    boards = comparison.boards
    runs = [run for board in boards for arm in board.arms for run in arm.runs]
    own = [arm for board in boards for arm in board.arms if arm.bound != "upper"]
    convention = comparison.convention
    if any(metric in DISTANCES for metric in comparison.metrics):
        convention += f", distances in {comparison.unit}"
    return {
        "labels": _distinct(board.budget for board in boards),
        "baseline": _distinct(board.baseline or DASH for board in boards),
        "seeds per method": _range(len(arm.seeds) for arm in own),
        "cases scored": _distinct(f"{len(board.cases)} {board.source}" for board in boards),
        "iterations": _range(run.iterations for run in runs),
        "protocol": _distinct(str(run.manifest.get("protocol") or DASH) for run in runs),
        "weights": _distinct(str(run.manifest.get("selection") or DASH) for run in runs),
        "metric convention": convention,
    }


def _distinct(values: Iterable[str]) -> str:
    return listed(list(dict.fromkeys(values)), most=8)


def _range(values: Iterable[int]) -> str:
    known = sorted(set(values))
    return f"{known[0]} to {known[-1]}" if len(known) > 1 else "".join(map(str, known))


def folded_table(table: Table | None, summary: str) -> Markup | None:
    """One of the tables that are also written as CSV and Markdown, to be opened when asked for.

    Args:
        table: None: nothing.
        summary: what one clicks on.
    """
    if table is None:
        return None
    heads = [tag("th", name, scope="col", class_=_aligned(table, i)) for i, name in enumerate(table.columns)]
    rows = []
    for cells in table.rows:
        first, *others = cells
        shown = [
            tag("td", tag("b", cell.text) if cell.best else cell.text, cell.mark, class_=_aligned(table, i))
            for i, cell in enumerate(others, start=1)
        ]
        head = tag("th", first.text, first.mark, scope="row") if first.text else tag("td")
        rows.append(tag("tr", head, shown))
    body = [tag("thead", tag("tr", heads)), tag("tbody", rows)]
    return folded(summary, _framed(" ".join((f"{table.title}.", *table.notes)), body, texts=False))


def _aligned(table: Table, column: int) -> str | None:
    return "number" if column >= table.left else None


def settings(board: Board) -> Markup:
    """Where the arms differ: one block of rows per setting, one row per value."""
    if not board.differences:
        return tag("p", "The arms differ in nothing but their method.", class_="note")
    blocks = []
    for entry in board.differences:
        by_value: dict[str, list[str]] = {}
        for name, values in entry.values.items():
            by_value.setdefault(" | ".join(_shown(value) for value in values), []).append(name)
        usual = next((value for value, names in by_value.items() if 2 * len(names) > len(entry.values)), None)
        cells = [
            [tag("td", value), tag("td", "all others" if value == usual else listed(names, most=40))]
            for value, names in sorted(by_value.items(), key=lambda item: item[0] == usual)
        ]
        named = tag("th", entry.key, scope="rowgroup", rowspan=len(cells))
        first, *others = cells
        blocks.append(tag("tbody", tag("tr", named, first), [tag("tr", row) for row in others]))
    heads = _heads(["setting", "value", "methods"])
    return _framed("Settings, versions and hardware that differ", [heads, *blocks], texts=True)


def missing(cells: Sequence[MissingCell]) -> Markup:
    """What should be in the tables and is not, and the command that would fill it."""
    if not cells:
        return tag("p", "No run is missing.", class_="note")
    rows: list[list[Child]] = [
        [
            cell.name,
            cell.dataset,
            "all" if cell.labeled is None else str(cell.labeled),
            f"{cell.fold} / {cell.seed}",
            cell.reason,
            tag("code", cell.command) if cell.command else DASH,
        ]
        for cell in cells
    ]
    heads = ["method", "dataset", "labeled", "fold / seed", "why", "what would fill it"]
    return plain("Runs that should be in the tables and are not", heads, rows)


def plain(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Child]]) -> Markup:
    """A table of texts whose rows begin with their head."""
    body = [tag("tr", tag("th", row[0], scope="row"), [tag("td", cell) for cell in row[1:]]) for row in rows]
    return _framed(caption, [_heads(heads), tag("tbody", body)], texts=True)


def _heads(names: Sequence[str]) -> Markup:
    return tag("thead", tag("tr", [tag("th", name, scope="col") for name in names]))


def _framed(caption: str, content: Content, *, texts: bool) -> Markup:
    """A table inside a box that scrolls; texts break anywhere to fit a narrow screen, numbers do not."""
    class_ = "texts" if texts else None
    return tag(
        "div",
        tag("table", tag("caption", tag("span", caption)), content, class_=class_),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption.split(".")[0],
    )


def folded(summary: str, *content: Child) -> Markup:
    """Something that opens when asked for."""
    return tag("details", tag("summary", summary), content)


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


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

    boards: Mapping[int, list[tuple[Plate, Rendered | None]]]
    """Index of a board -> its figures."""
    datasets: Mapping[str, list[tuple[Plate, Rendered | None]]]
    examples: Callable[[Board, str], list[Example] | None]
    """Pictures of an arm; None where there would be too many."""


def page(comparison: Comparison, drawn: Drawn) -> str:
    """The whole HTML text.

    Args:
        comparison: what is told.
        drawn: its figures and pictures.
    """
    style, script = _own("page.css"), _own("page.js")
    boards = [_board(comparison, i, board, drawn) for i, board in enumerate(comparison.boards)]
    body = [
        tag("a", "To the content", href="#content", class_="skip"),
        head(comparison),
        tag("div", _reading(comparison), _contents(comparison), class_="wrap"),
        tag("main", boards, _datasets(comparison, drawn), _rest(comparison), id="content"),
        tag(
            "footer", tag("p", f"Written by semiseg {__version__}. This file is complete: it loads nothing.")
        ),
        tag("script", raw(script, element="script")),
    ]
    top = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"Comparison: {title_of(comparison)}"),
        tag("style", raw(style, element="style")),
    ]
    return f"<!DOCTYPE html>\n{tag('html', tag('head', top), tag('body', body), lang='en')}\n"


def _own(name: str) -> str:
    return resources.files("semiseg.comparison.report").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing may be loaded, and only our own style and script run."""

    def sha(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src data:; style-src {sha(style)}; script-src {sha(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _reading(comparison: Comparison) -> Markup:
    several = len(comparison.boards) > 1
    told = [
        tag(
            "p",
            tag("strong", f"{_title(board)}. ") if several else None,
            " ".join(reading_of(comparison, board)),
            class_="lead",
        )
        for board in comparison.boards
    ]
    notes = list(
        dict.fromkeys(
            [
                *comparison.notices,
                *(
                    f"{_title(board)}: {text}" if several else text
                    for board in comparison.boards
                    for text in board.notices
                ),
            ]
        )
    )
    warning = tag(
        "div", [tag("p", f"{note[:1].upper()}{note[1:]}.") for note in notes], class_="warning", role="note"
    )
    return tag(
        "section",
        tag("h2", "In words", id="words"),
        told,
        [tag("h3", "What weakens this comparison"), warning] if notes else [],
    )


def _contents(comparison: Comparison) -> Markup:
    links = [("words", "In words")]
    links += [(f"board-{i}", _title(board)) for i, board in enumerate(comparison.boards)]
    links += [(f"budget-{slug(name)}", f"Labels needed: {name}") for name in comparison.datasets]
    links += [("missing", "Missing runs"), ("made", "How it was made")]
    return tag(
        "nav",
        tag("ul", [tag("li", tag("a", text, href=f"#{place}")) for place, text in links]),
        aria_label="Contents",
    )


def _title(board: Board) -> str:
    return f"{board.dataset}, {board.budget}"


def _board(comparison: Comparison, index: int, board: Board, drawn: Drawn) -> Markup:
    tables = [
        tag("div", table(comparison, board, m), class_="panel", data_metric=m) for m in comparison.metrics
    ]
    pairs = comparison_lists.pairs(comparison, board) if board.pairs else None
    more = [
        folded_table(comparison_tables.classes(comparison, board), "By class")
        if len(board.classes) > 1
        else None,
        folded_table(comparison_lists.papers(comparison, board), "Published figures and their sources"),
    ]
    return tag(
        "section",
        tag("h2", _title(board), id=f"board-{index}"),
        _switch(comparison),
        tables,
        more,
        _figures(drawn.boards[index], {"pairs": folded_table(pairs, "All tests in numbers")}),
        tag("h3", "Worst, median and best case"),
        _examples(comparison, board, drawn),
        tag("h3", "What differs between the methods"),
        settings(board),
        aria_labelledby=f"board-{index}",
    )


def _switch(comparison: Comparison) -> Markup | None:
    """Buttons that choose the metric; without scripts all metrics are shown, one below the other."""
    if len(comparison.metrics) < 2:
        return None
    buttons = [
        tag("button", metric, type="button", data_choose=metric, aria_pressed="false")
        for metric in comparison.metrics
    ]
    return tag("div", "Show ", buttons, class_="switch", role="group", aria_label="Metric", hidden=True)


def _figures(
    entries: Iterable[tuple[Plate, Rendered | None]], after: Mapping[str, Markup | None]
) -> list[Markup | None]:
    """Figures with a heading each; those of several metrics share one and are chosen by the switch."""
    parts: list[Markup | None] = []
    headed = ""
    for entry, drawing in entries:
        if entry.kind != headed:
            headed = entry.kind
            parts.append(tag("h3", HEADINGS[entry.kind]) if entry.kind in HEADINGS else None)
        shown = plate(entry, drawing)
        parts.append(tag("div", shown, class_="panel", data_metric=entry.metric) if entry.metric else shown)
        parts.append(after.get(entry.kind))
    return parts


def _examples(comparison: Comparison, board: Board, drawn: Drawn) -> Markup:
    shown = [(arm, found) for arm in board.arms if (found := drawn.examples(board, arm.name)) is not None]
    left_out = [arm.name for arm in board.arms if arm.name not in {arm.name for arm, _ in shown}]
    note = (
        tag("p", f"Not shown, to keep this file small: {', '.join(left_out)}.", class_="note")
        if left_out
        else None
    )
    words = (
        f"By {comparison.metric}, of each method's first run. One slice each, where the reference is largest."
    )
    return join(
        [
            tag("p", words, class_="note"),
            legend(board.classes),
            [examples(comparison, board, arm, found) for arm, found in shown],
            note,
        ]
    )


def _datasets(comparison: Comparison, drawn: Drawn) -> list[Markup]:
    parts = []
    for name in comparison.datasets:
        place = f"budget-{slug(name)}"
        entries = drawn.datasets[name]
        drawable = any(drawing is not None for _, drawing in entries)
        parts.append(
            tag(
                "section",
                tag("h2", f"How many labels are needed: {name}", id=place),
                [_switch(comparison), _figures(entries, {})]
                if drawable
                else tag("p", entries[0][0].lacking, class_="note"),
                aria_labelledby=place,
            )
        )
    return parts


def _rest(comparison: Comparison) -> list[Markup]:
    return [
        tag("section", tag("h2", "Missing runs", id="missing"), missing(comparison.missing)),
        tag("section", tag("h2", "How it was made", id="made"), _method(comparison), provenance(comparison)),
    ]


def _method(comparison: Comparison) -> Markup:
    level = round(100 * (1 - comparison.alpha))
    return tag(
        "p",
        "A case's value is the mean over classes, then over seeds. Intervals: "
        f"{level} %, bias-corrected and accelerated bootstrap over cases ({comparison.resamples} resamples, "
        f"seed {comparison.seed}), the runs held fixed. Tests: Wilcoxon's signed-rank test of paired cases, "
        "two-sided, with Holm's correction over all tests against one baseline, and over all pairs. Ranks: "
        "Friedman's test and Nemenyi's critical difference (Demšar 2006). A test speaks of these trained "
        "models on cases like these; what another seed would do, the spread between seeds tells.",
    )


def provenance(comparison: Comparison) -> Markup:
    """What made the runs; where runs differ, each value with how many runs have it."""
    runs = all_runs(comparison)
    found: dict[str, dict[str, int]] = {}
    for run in runs:
        for key, value in _facts_of_run(run):
            values = found.setdefault(key, {})
            values[value] = values.get(value, 0) + 1
    rows: list[list[Child]] = []
    for key, values in found.items():
        alone = len(values) == 1 and sum(values.values()) == len(runs)
        told: list[Child] = [
            tag("div", value, None if alone else tag("small", count(times, "run"), class_="times"))
            for value, times in values.items()
        ]
        rows.append([key, join(told)])
    commands = [
        tag("div", tag("p", _name(run), tag("small", str(run.folder))), tag("pre", _command(run)))
        for run in runs
    ]
    return join(
        [
            plain(f"What made the {count(len(runs), 'run')}", ["of the runs", "value"], rows),
            folded("Folder and command of every run", *commands),
        ]
    )


def all_runs(comparison: Comparison) -> list[RunScores]:
    """Every run once; an upper bound stands on several boards."""
    runs = {run.folder: run for board in comparison.boards for arm in board.arms for run in arm.runs}
    return list(runs.values())


def _facts_of_run(run: RunScores) -> Iterator[tuple[str, str]]:
    manifest = run.manifest
    yield "semiseg", str(manifest.get("semiseg", "unknown"))
    git = manifest.get("git") or {}
    if git.get("commit"):
        yield "commit", f"{git['commit']}{' with local changes' if git.get('modified') else ''}"
    yield "Python", str(manifest.get("python", "unknown"))
    packages = manifest.get("packages") or {}
    yield "packages", ", ".join(f"{name} {version}" for name, version in packages.items()) or "unknown"
    yield "platform", str(manifest.get("platform", "unknown"))
    yield "hardware", _hardware(manifest.get("hardware") or {})
    yield "number format", str(manifest.get("precision", "unknown"))
    for deviation in manifest.get("deviations") or ():
        yield "deviation from strict", str(deviation)
    yield "files of the data, SHA-256", str(manifest.get("data_sha256", "unknown"))
    yield "lists of cases, SHA-256", str(manifest.get("split_sha256", "unknown"))


def _hardware(found: dict[str, Any]) -> str:
    gpus = found.get("gpus") or []
    return ", ".join(
        [
            *map(str, gpus),
            str(found.get("cpu", "unknown CPU")),
            f"{found.get('cores', '?')} cores",
            f"{found.get('threads', '?')} threads",
        ]
    )


def _name(run: RunScores) -> str:
    return f"{run.variant or run.method}, {run.labeled} labeled, fold {run.fold}, seed {run.seed}"


def _command(run: RunScores) -> str:
    return str(run.manifest.get("command") or "not recorded")
