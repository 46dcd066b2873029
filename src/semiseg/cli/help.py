"""How help looks: commands by group, options by section, one spelling of each flag."""

from __future__ import annotations

import copy
import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

from semiseg.cli.table import COMMANDS

DATA, METHOD, LENGTH, SEARCH = "Data", "Method", "Length", "Search"
OUTPUT, MACHINE, MESSAGES = "Output", "Machine", "Messages"
SECTIONS = ("Options", DATA, METHOD, SEARCH, LENGTH, OUTPUT, MACHINE, MESSAGES)
"""In the order of the help; an option says its own with ``rich_help_panel``, those that do not are first."""

ALIASES = {"--labelled", "--labelled-patients", "--protocol", "--legacy"}
"""Other spellings: they work and are not shown."""

SESSION = (
    "semiseg demo",
    "semiseg init SCANS -o MyDataset",
    "semiseg train MyDataset",
)
"""The shortest session, at the end of ``semiseg --help``."""

_RANGE = re.compile(r" *\[x[<>]=?[\d.]+\]|; x[<>]=?[\d.]+(?=\])")
"""What the parser adds about the smallest value; the error for a wrong one says it."""


class Command(TyperCommand):
    """A command whose options are shown in sections."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then the sections of :data:`SECTIONS` that have an option."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], **{name: [] for name in SECTIONS}}
        for parameter in self.get_params(ctx):
            shown = copy.copy(parameter)
            shown.opts = [flag for flag in parameter.opts if flag not in ALIASES]
            record = shown.get_help_record(ctx)
            if record is not None:
                name, text = record
                sections[_section(parameter)].append((name, _RANGE.sub("", text)))
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _section(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    if parameter.name == "help":
        return MESSAGES
    return getattr(parameter, "rich_help_panel", None) or SECTIONS[0]


class GroupedHelp(TyperGroup):
    """The list of commands under the headings of :data:`~semiseg.cli.table.COMMANDS`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """One list per group; lines are short enough to be shown whole."""
        wide = max(len(name) for group in COMMANDS.values() for name in group)
        for title, group in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(wide), line) for name, line in group.items()])


def closing() -> str:
    """The end of ``semiseg --help``: the shortest session, and where the documentation is."""
    lines = [
        "\b",
        "Example:",
        *(f"  {line}" for line in SESSION),
        "",
        "semiseg COMMAND --help shows examples.",
    ]
    if address := documentation():
        lines += ["", f"Documentation: {address}"]
    return "\n".join(lines)


def documentation() -> str:
    """The address of the documentation that the package names, or nothing."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        urls = metadata("semiseg").get_all("Project-URL") or ()
    except PackageNotFoundError:
        return ""
    named = dict(url.split(", ", 1) for url in urls)
    return str(named.get("Documentation", ""))
