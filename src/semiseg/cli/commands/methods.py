"""``semiseg methods``.

What is known of one method, for the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from semiseg import methods
from semiseg.cli.options import argument, flag
from semiseg.cli.output import Output, columns
from semiseg.drawing.table import Table, TableCell, heads, terminal
from semiseg.errors import UsageError, unknown_name
from semiseg.methods import _page
from semiseg.methods._facts import FAMILIES, SORTS, bibtex, by_family

EXAMPLES = (
    "semiseg methods",
    "semiseg methods --family 'Mean teachers' --sort cost",
    "semiseg methods mean_teacher",
    "semiseg methods mean_teacher --cite",
    "semiseg methods my_package.my_module:MyMethod",
)


def run(
    out: Output,
    name: Annotated[
        str | None,
        argument("NAME", "Method to show, also as package.module:Class."),
    ] = None,
    family: Annotated[str | None, flag("--family NAME", "List only the methods of this family.")] = None,
    sort: Annotated[str, flag("--sort KEY", "Order within a family: year, cost or name.")] = "year",
    cite: Annotated[bool, flag("--cite", "Print the paper of NAME as BibTeX.")] = False,
) -> None:
    """List training methods by family, or show one: paper, cost, options, published and own figures."""
    if name is None and cite:
        raise UsageError("--cite needs the name of a method", hint="for example semiseg methods bcp --cite")
    if name is None:
        _list(out, family, sort)
        return
    if cite:
        entry = bibtex(name, methods.description(name).facts.papers)
        out.result({"name": name, "bibtex": entry}, entry)
        return
    page = _page.content(name)
    out.result(page, "" if out.json else sheet(page))


def _list(out: Output, family: str | None, sort: str) -> None:
    if sort not in SORTS:
        raise unknown_name("order", sort, SORTS)
    groups = by_family(methods.describe(), sort)
    if family is not None:
        same = {each.lower(): each for each in FAMILIES}
        if family.lower() not in same:
            raise unknown_name("family", family, FAMILIES)
        wanted = same[family.lower()]
        groups = {wanted: groups[wanted]}
    rows = [("", "year", "cost", "")]
    ends: list[int] = []
    for group in groups.values():
        ends.append(len(rows))
        rows += [(e["name"], e["year"], f"{e['work']}x", e["summary"]) for e in group]
    lines = columns(rows).splitlines()
    for place, title in reversed(list(zip(ends, groups, strict=True))):
        lines[place:place] = [f"{title}:"] if place == 1 else ["", f"{title}:"]
    lines += ["", COST, "`semiseg recommend DATASET` ranks them for your data."]
    listed = [entry for group in groups.values() for entry in group]
    out.result({"methods": listed}, "\n".join(lines))


COST = "cost: a training step beside a supervised one. `semiseg methods NAME` shows one."

WIDEST = 110
"""Columns; longer lines are hard to read."""


def sheet(page: dict[str, Any]) -> RenderableType:
    """The content of :func:`semiseg.methods._page.content` in the order of its page."""
    equations, rest = _page.formula(page)
    parts: list[RenderableType] = [Text(page["name"], "bold"), _text(page["summary"]), ""]
    parts += [_grid([(_dim(key), _text(value)) for key, value in _page.facts(page)])]
    parts += ["", *(Padding(Text(line), (0, 2)) for line in equations)] if equations else []
    for paragraph in (rest, *page["prose"]):
        parts += ["", _text(paragraph)] if paragraph else []
    if page["options"]:
        parts += [_title("Options", "--set method.options.KEY=VALUE"), _options(page["options"])]
    if page["published"]:
        parts += [_title("Published figures", _page.CHECKED), *_published(page)]
    if page["measured"]:
        figures = _table(_page.MEASURED, _page.measured(page))
        parts += [_title("Our figures", _page.MEASURED_AS), figures]
    return Constrain(Group(*parts), WIDEST)


def _options(options: Sequence[dict[str, Any]]) -> RichTable:
    rows = []
    for option in options:
        what = _line(option["description"])
        choices = re.findall("``.+?``", option["type"])
        if option["type"] and not (choices and all(choice in option["description"] for choice in choices)):
            what += f" ({_plain(option['type'])})"
        rows.append((option["name"], *_page.default(option), what))
    return _table(("Option", "Default", "Recipe default", "What"), rows, left=4)


def _published(page: dict[str, Any]) -> list[RenderableType]:
    """The table, with source and reason as notes below: a terminal is too narrow for them."""
    notes: dict[str, int] = {}
    rows = []
    for row, source in zip(_page.published(page), page["published"], strict=True):
        reason = f"{source['source']}. {_page.reason(source)}"
        note = notes.setdefault(reason, len(notes) + 1)
        rows.append((*row[:6], f"{source['comparable']} ({note})"))
    below = _grid([(_dim(f"({note})"), _text(text[:1].upper() + text[1:])) for text, note in notes.items()])
    head = ("Data", "Labels", *_page.FIGURES, "Compare")
    return [_table(head, rows, left=2), below]


def _title(text: str, more: str) -> RenderableType:
    return Padding(Text.assemble((text, "bold"), "  ", (more, "dim")), (1, 0, 0, 0))


def _grid(rows: Iterable[Sequence[RenderableType]]) -> RichTable:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    return grid


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> RichTable:
    return terminal(Table("", heads(head, left), tuple(tuple(map(TableCell, row)) for row in rows)))


def _text(text: str) -> Text:
    return Text(_line(text))


def _line(text: str) -> str:
    """A paragraph on one line, code without its backticks."""
    return _plain(re.sub(r"\s*\n\s*", " ", text))


def _dim(text: str) -> Text:
    return Text(text, "dim")


def _plain(text: str) -> str:
    return text.replace("``", "")
