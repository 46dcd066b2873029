"""``semiseg networks``."""

from __future__ import annotations

from typing import Annotated

from semiseg.cli.options import argument
from semiseg.cli.output import Output, columns
from semiseg.errors import unknown_name

EXAMPLES = ("semiseg networks", "semiseg networks vnet")


def run(
    out: Output,
    name: Annotated[str | None, argument("NAME", "Network to show.")] = None,
) -> None:
    """List networks, or show one."""
    from semiseg.networks import describe

    known = {network["name"]: network for network in describe()}
    if name is None:
        lines = columns((each, about["summary"].replace("``", "`")) for each, about in known.items())
        out.result({"networks": list(known.values())}, lines)
        return
    if name not in known:
        raise unknown_name("network", name, known)
    out.result(known[name], columns((key, str(value)) for key, value in known[name].items() if value))
