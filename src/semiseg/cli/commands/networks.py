"""``semiseg networks``."""

from __future__ import annotations

from typing import Annotated

import typer

from semiseg.cli.output import Output, columns
from semiseg.errors import unknown_name

EXAMPLES = ("semiseg networks", "semiseg networks vnet")


def run(
    out: Output,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", show_default=False, help="Show only this one.")
    ] = None,
) -> None:
    """List the networks, or show one."""
    from semiseg.networks import describe

    networks = describe()
    if name is None:
        out.result({"networks": networks}, columns([(n["name"], n["summary"]) for n in networks]))
        return
    found = {n["name"]: n for n in networks}
    if name not in found:
        raise unknown_name("network", name, found)
    out.result(found[name], columns((key, str(value)) for key, value in found[name].items() if value))
