"""``semiseg methods``."""

from __future__ import annotations

from typing import Annotated

import typer

from semiseg.cli.output import Output
from semiseg.cli.registry import show

EXAMPLES = ("semiseg methods", "semiseg methods mean_teacher")


def run(
    out: Output,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", show_default=False, help="Show only this one.")
    ] = None,
) -> None:
    """List the training methods, or show one: what it does, its paper, which networks fit."""
    from semiseg.methods import describe

    show(out, "method", describe(), name)
