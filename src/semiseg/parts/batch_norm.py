"""Batch norm during passes that only look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def frozen_running_statistics(network: nn.Module) -> Iterator[None]:
    """Train-mode passes inside use the statistics of their batch, and leave the running ones alone.

    Prediction uses ``running_mean`` and ``running_var``; passes that only ask for an opinion, such as Monte
    Carlo dropout on noisy copies, would drag them along.
    """
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


def has_batch_norm(network: nn.Module) -> bool:
    """Whether an answer in train mode depends on the other samples, so that none may be left out of a
    pass.
    """
    return any(isinstance(m, _BatchNorm) for m in network.modules())
