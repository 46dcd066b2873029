"""A network's options, compared with the signature of its constructor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from semiseg.errors import UsageError, nearest

MONAI = "monai:"
"""What the names of networks of MONAI begin with. MONAI is an extra, and is imported for them only."""


def check_options(
    name: str, options: Mapping[str, Any], allowed: list[str], network: Callable[..., Any]
) -> None:
    """Refuse options that the constructor does not know, naming the nearest and the signature.

    Raises:
        UsageError: with code ``NETWORK_OPTION``.
    """
    wrong = sorted(set(options) - set(allowed))
    if not wrong:
        return
    near = nearest(wrong[0], allowed, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"network {name!r} has no option {', '.join(map(repr, wrong))}.{guess}",
        hint=signature_of(network, allowed),
        code="NETWORK_OPTION",
        details={"got": wrong, "known": allowed},
    )


def signature_of(network: Callable[..., Any], allowed: list[str]) -> str:
    """The options with their defaults, for a hint."""
    parameters = inspect.signature(network).parameters
    shown = [
        p if parameters[p].default is inspect.Parameter.empty else f"{p}={parameters[p].default!r}"
        for p in allowed
    ]
    return f"options: {', '.join(shown)}" if shown else "it has no options"
