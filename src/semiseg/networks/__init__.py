"""Networks: one file = one network; the folder is the registry. Nothing here imports torch until ``build``.

A network is found by its file's name (``vnet``), as ``monai:SegResNet`` (any network of MONAI), or as
``package.module:Class`` (anybody's). All of them return :class:`semiseg.core.SegOutput`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semiseg.networks.registry import Factory, blocks, describe, names, require

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Factory", "blocks", "build", "describe", "names", "require"]


def build(
    name: str,
    *,
    dim: int,
    in_channels: int,
    classes: int,
    heads: Mapping[str, int] | None = None,
    plan: Any = None,
    patch: Sequence[int] = (),
    **options: Any,
) -> nn.Module:
    """A fresh, randomly initialized network.

    Args:
        name: one of :func:`names`, ``monai:Class`` or ``package.module:Class``.
        dim: 2 or 3 spatial axes.
        in_channels: C.
        classes: K, with background.
        heads: extra outputs on the last feature map, head name -> channels, such as ``{"sdf": K - 1}``.
            They add the state_dict keys ``heads.*`` and change no other key.
        plan: anything with ``features``, ``strides`` and ``kernels`` (a ``NetworkPlan``); read only by the
            networks whose size can be planned, and overruled by ``options``.
        patch: edges of the input, for networks that must be built for one size; overruled by ``options``.
        options: of that network; see its class.

    Returns:
        A module whose ``forward(x)`` of (B, C, *S) returns ``SegOutput``, with an attribute ``divisor``.

    Raises:
        UsageError: unknown name or option, or sizes that make no network.
    """
    from semiseg.networks.registry import build as build_network

    return build_network(
        name,
        dim=dim,
        in_channels=in_channels,
        classes=classes,
        heads=heads,
        plan=plan,
        patch=patch,
        options=options,
    )
