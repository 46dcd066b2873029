"""From a name and options to a network, with the user's mistakes caught before Python's own TypeError."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from semiseg.errors import UsageError
from semiseg.networks._registry import class_name, require
from semiseg.option_values import checked

_COMMON = ("dim", "in_channels", "classes", "heads")
_PLANNED = ("features", "strides", "kernels")


def build(
    name: str,
    *,
    dim: int,
    in_channels: int,
    classes: int,
    heads: Mapping[str, int] | None,
    plan: Any,
    patch: Sequence[int],
    options: Mapping[str, Any],
) -> nn.Module:
    """See :func:`semiseg.networks.build`."""
    if ":" in name:
        from semiseg.networks.monai import build_outside

        return build_outside(
            name,
            dim=dim,
            in_channels=in_channels,
            classes=classes,
            heads=heads,
            plan={**planned(plan), "patch": tuple(patch)},
            options=options,
        )
    require(name)
    network: type[nn.Module] = getattr(importlib.import_module(f"semiseg.networks.{name}"), class_name(name))
    allowed = [p for p in inspect.signature(network).parameters if p not in _COMMON]
    check_options(name, options, allowed, network)
    sized = {key: value for key, value in planned(plan).items() if key in allowed}
    given = sized | checked(f"network {name!r}", network, options)
    return network(dim=dim, in_channels=in_channels, classes=classes, heads=heads, **given)


def planned(plan: Any) -> dict[str, Any]:
    """What a plan says of a network's size; empty entries are left to the network's defaults."""
    found = {key: getattr(plan, key, None) for key in _PLANNED}
    return {key: value for key, value in found.items() if value}


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
    near = difflib.get_close_matches(wrong[0], allowed, n=1, cutoff=0.5)
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
