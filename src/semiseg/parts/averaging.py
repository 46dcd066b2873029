"""Several networks that predict as one."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from semiseg.core import SegOutput


class Average(nn.ModuleList):
    """The mean of the class probabilities of its networks, which must have the same classes.

    Its state is that of the networks, numbered from 0.
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__(networks)
        divisors = [d for network in self if (d := getattr(network, "divisor", None))]
        if divisors:
            self.divisor = tuple(math.lcm(*edges) for edges in zip(*divisors, strict=True))

    def forward(self, x: Tensor) -> SegOutput:
        """(B, C, *S) -> logits (B, K, *S) whose softmax is the mean, float32."""
        log_p = torch.stack([network(x).logits.float().log_softmax(1) for network in self])
        return SegOutput(log_p.logsumexp(0))  # the mean's logarithm plus ln n, which softmax does not see
