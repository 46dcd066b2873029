"""``semiseg networks``."""

from __future__ import annotations

from typing import Annotated

import typer

from semiseg.cli.output import Output, show

EXAMPLES = ("semiseg networks", "semiseg networks vnet")


def run(
    out: Output,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", show_default=False, help="Network to show.")
    ] = None,
) -> None:
    """List networks, or show one."""
    from semiseg.networks import describe

    show(out, "network", describe(), name)
