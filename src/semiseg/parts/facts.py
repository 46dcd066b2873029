"""What a method has to know of its network before the first batch."""

from __future__ import annotations

from torch import nn

from semiseg.errors import UsageError


def fact(network: nn.Module, name: str, method: str) -> int:
    """``dim``, ``classes`` or ``in_channels``, as the network says.

    Raises:
        UsageError: it does not say it.
    """
    value = getattr(network, name, None)
    if value is None:
        raise UsageError(
            f"{method} needs a network that says its {name}, and {type(network).__name__} does not",
            hint=f"choose another network (`semiseg networks`), or give yours an attribute {name!r}",
        )
    return int(value)
