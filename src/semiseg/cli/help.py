"""How help looks: commands by group, options by section, one spelling of each flag."""

from __future__ import annotations

import copy
import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "Start here": {
        "demo": "Try the whole workflow on small synthetic scans.",
        "doctor": "Show versions, devices, memory and optional packages.",
    },
    "Prepare data": {
        "init": "Turn a folder of scans into a dataset.",
        "convert": "Turn a public data set into a dataset, with its split.",
        "check": "Find problems in a dataset and how to fix them.",
        "split": "Cut the labeled cases into folds, by patient.",
        "plan": "Show the preprocessing and network semiseg would use.",
    },
    "Train": {
        "recommend": "Suggest which method to train first.",
        "train": "Train on labeled and unlabeled scans.",
        "tune": "Search a method's hyperparameters.",
    },
    "Use": {
        "predict": "Segment new scans with a trained model.",
        "export": "Export a model: zip, ONNX, PyTorch, MONAI bundle.",
        "evaluate": "Score segmentations: Dice, HD95, NSD, volumes.",
    },
    "Label": {
        "studio": "See, label, train and correct in a browser tab.",
        "next": "Suggest which scans to label next, and why.",
        "accept": "Take predictions of unlabeled scans as labels.",
    },
    "Compare": {
        "sweep": "Train many methods, label counts and seeds.",
        "compare": "Compare runs: intervals, tests, report.",
    },
    "Look up": {
        "methods": "List training methods, or show one.",
        "networks": "List networks.",
        "recipes": "List named settings and published protocols.",
    },
}
"""Group -> command -> its line, at most 60 characters. A new command is one more line here, one file in
``semiseg.cli.commands``, and one row in the README."""

LINES = {name: line for group in COMMANDS.values() for name, line in group.items()}
"""Command -> its line, in the order of the groups."""


DATA, METHOD, LENGTH, SEARCH = "Data", "Method", "Length", "Search"
OUTPUT, MACHINE, MESSAGES = "Output", "Machine", "Messages"
SECTIONS = ("Options", DATA, METHOD, SEARCH, LENGTH, OUTPUT, MACHINE, MESSAGES)
"""In the order of the help; an option says its own with ``rich_help_panel``, those that do not are first."""

ALIASES = {"--labelled", "--labelled-patients", "--protocol", "--legacy"}
"""Other spellings: they work and are not shown."""

_RANGE = re.compile(r" *\[(?:[\d.]+<=?)?x[<>]=?[\d.]+\]|; (?:[\d.]+<=?)?x[<>]=?[\d.]+(?=\])")
"""What the parser adds about the range of values; the error for a wrong one says it."""

_TYPE = re.compile(r" <[\w\[\]]+>$|^\{(?=.+\})|(?<=[^{])\}(?:\.\.\.)?$")
"""Types and braces that the parser puts around the name of an argument."""


class Command(TyperCommand):
    """A command whose options are shown in sections."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words behind the command's name, arguments without braces."""
        return [_TYPE.sub("", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then the sections of :data:`SECTIONS` that have an option."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], **{name: [] for name in SECTIONS}}
        for parameter in self.get_params(ctx):
            shown = copy.copy(parameter)
            shown.opts = [flag for flag in parameter.opts if flag not in ALIASES]
            record = shown.get_help_record(ctx)
            if record is not None:
                name, text = record
                sections[_section(parameter)].append((_TYPE.sub("", name), _RANGE.sub("", text)))
        if [name.split()[0] for name, _ in sections[METHOD]] == ["--seed"]:  # a command that trains nothing
            sections[SECTIONS[0]] += sections.pop(METHOD)
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
    """The list of commands under the headings of :data:`~semiseg.cli.help.COMMANDS`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """One list per group; lines are short enough to be shown whole."""
        wide = max(len(name) for group in COMMANDS.values() for name in group)
        for title, group in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(wide), line) for name, line in group.items()])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples and the address of the documentation, which only this help has to look up."""
        self.epilog = closing()
        super().format_epilog(ctx, formatter)


def closing() -> str:
    """The end of ``semiseg --help``: the shortest session, and where the documentation is."""
    lines = [
        "\b",
        "Example:",
        "  semiseg demo",
        "  semiseg init SCANS -o MyDataset",
        "  semiseg train MyDataset",
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
