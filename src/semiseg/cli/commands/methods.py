"""``semiseg methods``."""

from __future__ import annotations

from typing import Annotated

import typer

from semiseg.cli.output import Output
from semiseg.cli.registry import show

EXAMPLES = (
    "semiseg methods",
    "semiseg methods mean_teacher",
    "semiseg methods my_package.my_module:MyMethod",
)


def run(
    out: Output,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", show_default=False, help="Show only this one; also package.module:Class."
        ),
    ] = None,
) -> None:
    """List the training methods, or show one: what it does, its paper, its cost, its options, its figures."""
    if name is None:
        from semiseg.methods import describe

        show(out, "method", describe(), None)
        return
    from semiseg.method_page import content

    page = content(name)
    if out.json:
        out.result(page)
        return
    from semiseg.cli.method_sheet import sheet

    out.text(sheet(page))
