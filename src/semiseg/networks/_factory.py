"""``make_net``: fresh networks of one size, of the kind that was chosen for the run or of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Factory:
    """What a method makes its networks with; see :data:`semiseg.core.NetFactory`.

    Each network remembers in ``described`` how to build it again: ``{"name": ..., "options": ...}``, without
    its extra heads, which serve training only.
    """

    name: str
    """Of the run's network."""
    dim: int
    in_channels: int
    classes: int
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the run's network."""
    plan: Any = None
    """As in :func:`semiseg.networks.build`, of this network and of others."""
    patch: Sequence[int] = ()
    """As there."""
    checkpointing: bool = False
    """See :mod:`semiseg.networks._checkpointing`; it is of the training, so no network remembers it."""

    def __call__(
        self, heads: Mapping[str, int] | None = None, *, network: str | None = None, **options: Any
    ) -> nn.Module:
        """A fresh network.

        Args:
            heads: extra outputs, name -> channels.
            network: another one than the run's, by name; it has only the options given here.
            options: to be changed in the run's network.
        """
        from semiseg.networks._build import build

        chosen: dict[str, Any] = self.description if network is None else {"name": network, "options": {}}
        chosen["options"].update(options)
        net = build(
            chosen["name"],
            dim=self.dim,
            in_channels=self.in_channels,
            classes=self.classes,
            heads=heads,
            plan=self.plan,
            patch=self.patch,
            options=chosen["options"],
        )
        if self.checkpointing:
            from semiseg.networks._checkpointing import checkpoint_blocks

            checkpoint_blocks(net)
        object.__setattr__(net, "described", chosen)  # no part of its state
        return net

    @property
    def description(self) -> dict[str, Any]:
        """Of the run's network."""
        return {"name": self.name, "options": dict(self.options)}
