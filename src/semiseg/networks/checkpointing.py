"""Gradient checkpointing: a block keeps its input alone, and is run again when its gradient is wanted.

A third more computing for a quarter (U-Net) to a third (V-Net) less memory: skips and one block at full
resolution stay (Chen et al. 2016, arXiv:1604.06174).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.checkpoint import checkpoint

from semiseg.errors import UsageError
from semiseg.networks.base import SegNetwork
from semiseg.networks.outside import OutsideNetwork

MOST_CONVOLUTIONS = 4
"""Of a block: with more of them, running it again would take the memory that was saved."""


def checkpoint_blocks(network: nn.Module) -> None:
    """Make a network run its blocks under checkpoints; keys, outputs and gradients stay as they are.

    Raises:
        UsageError: not one of our own networks.
    """
    if not isinstance(network, SegNetwork) or isinstance(network, OutsideNetwork):
        raise UsageError(
            "network.checkpointing is for the networks of `semiseg networks`, not for others",
            hint="leave it out; some networks of MONAI have an option of their own, such as use_checkpoint",
            code="NETWORK_CHECKPOINTING",
        )
    for block in blocks(network):
        block.forward = Checkpointed(block)


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The largest parts with at most :data:`MOST_CONVOLUTIONS`; none that keeps no more than its input."""
    for child in module.children():
        inside = [m for m in child.modules() if isinstance(m, _ConvNd)]
        if len(inside) > MOST_CONVOLUTIONS or isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from blocks(child)
        elif inside and len(list(child.modules())) > 2:
            yield child


@dataclass(eq=False)
class Checkpointed:
    """The forward of a block. Copying the block copies this along, for the copy."""

    block: nn.Module

    def __post_init__(self) -> None:
        self.random = any(isinstance(m, _DropoutNd) and m.p > 0 for m in self.block.modules())

    def __call__(self, *inputs: Any) -> Any:
        """Whatever the block answers."""
        if not torch.is_grad_enabled():
            return type(self.block).forward(self.block, *inputs)
        return checkpoint(
            type(self.block).forward,
            self.block,
            *inputs,
            use_reentrant=False,
            preserve_rng_state=self.random,
            context_fn=self._contexts,
        )

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), frozen_statistics(self.block)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norm inside leaves its running statistics alone: the second run has seen no other batch."""
    layers = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.momentum, layer.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(layers, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count
