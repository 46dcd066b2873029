"""The report as one HTML file: nothing in it is fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from semiseg.__about__ import __version__
from semiseg.report import comparison_lists, comparison_tables
from semiseg.report.comparison.examples import Example
from semiseg.report.comparison.gallery import Plate, slug
from semiseg.report.comparison.html import Markup, join, raw, tag
from semiseg.report.comparison.paper import Rendered
from semiseg.report.comparison.reading import reading_of
from semiseg.report.comparison.sections import lists
from semiseg.report.comparison.sections.head import head, title_of
from semiseg.report.comparison.sections.pictures import examples, legend, plate
from semiseg.report.comparison.sections.provenance import provenance
from semiseg.report.comparison.sections.table import table

if TYPE_CHECKING:
    from semiseg.comparison.result import Board, Comparison

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
    return resources.files("semiseg.report.comparison").joinpath(name).read_text(encoding="utf-8")


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
        lists.folded_table(comparison_tables.classes(comparison, board), "By class")
        if len(board.classes) > 1
        else None,
        lists.folded_table(comparison_lists.papers(comparison, board), "Published figures and their sources"),
    ]
    return tag(
        "section",
        tag("h2", _title(board), id=f"board-{index}"),
        _switch(comparison),
        tables,
        more,
        _figures(drawn.boards[index], {"pairs": lists.folded_table(pairs, "All tests in numbers")}),
        tag("h3", "Worst, median and best case"),
        _examples(comparison, board, drawn),
        tag("h3", "What differs between the methods"),
        lists.settings(board),
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
        tag("section", tag("h2", "Missing runs", id="missing"), lists.missing(comparison.missing)),
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
