"""How the commands that list a folder of this package (methods, networks) show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semiseg.cli.output import Output, columns
from semiseg.errors import unknown_name


def show(out: Output, kind: str, entries: Sequence[dict[str, Any]], name: str | None) -> None:
    """All entries, a line each, or everything about one.

    Raises:
        UsageError: there is none of this name; suggests the nearest.
    """
    if name is None:
        lines = columns([(entry["name"], entry["summary"]) for entry in entries])
        out.result({f"{kind}s": list(entries)}, lines)
        return
    found = {entry["name"]: entry for entry in entries}
    if name not in found:
        raise unknown_name(kind, name, found)
    out.result(found[name], columns((key, str(value)) for key, value in found[name].items() if value))
