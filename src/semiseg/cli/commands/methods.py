"""``semiseg methods``."""

from __future__ import annotations

from typing import Annotated

import typer

from semiseg.cli.output import Output, columns
from semiseg.errors import unknown_name

EXAMPLES = ("semiseg methods", "semiseg methods mean_teacher")


def run(
    out: Output,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", show_default=False, help="Show only this one.")
    ] = None,
) -> None:
    """List the training methods, or show one: what it does, its paper, which networks fit."""
    from semiseg.methods import describe

    methods = describe()
    if name is None:
        out.result({"methods": methods}, columns([(m["name"], m["summary"]) for m in methods]))
        return
    found = {m["name"]: m for m in methods}
    if name not in found:
        raise unknown_name("method", name, found)
    out.result(found[name], columns((key, str(value)) for key, value in found[name].items() if value))
