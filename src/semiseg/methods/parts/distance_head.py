"""A second head on the last feature map that says how far each voxel is from each class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semiseg.core import NetFactory
from semiseg.methods.parts.ranks import fact

HEAD = "sdf"


def with_distance_head(make_net: NetFactory, method: str) -> nn.Module:
    """A fresh network with one distance channel per foreground class.

    Their number is read off a first network, whose random draws are taken back: the weights in common are
    those that ``make_net()`` would have drawn.

    Raises:
        UsageError: a network that does not say how many classes it has.
    """
    with torch.random.fork_rng(devices=[]):
        classes = fact(make_net(), "classes", method)
    return make_net(heads={HEAD: classes - 1})


def segment_and_measure(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax (B, K, *S) and distances (B, K-1, *S) in (-1, 1) by tanh, both in float32."""
    answer = network(x)
    return answer.logits.float().softmax(1), torch.tanh(answer.heads[HEAD].float())
