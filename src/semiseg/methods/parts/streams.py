"""A network that answers a second time from its own maps with channels dropped, for training only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from semiseg.core import SegOutput
from semiseg.methods.parts.branches import channel_dropout


class Streams(nn.Module):
    """A network whose decoder also reads disturbed maps: channels of each map of the encoder are dropped.

    Clean and disturbed maps share one pass of the decoder (and so its batch statistics), as in UniMatch (Yang
    et al. 2023, arXiv:2208.09910). Its state is ``main.*``.

    Args:
        main: the network; for a pass with disturbed maps it must be split into encoder and decoder.
    """

    def __init__(self, main: nn.Module) -> None:
        super().__init__()
        self.main = main

    def forward(self, x: Tensor, rates: Sequence[float] = (), first: int = 0) -> SegOutput:
        """(B, C, *S) -> the answer of the network, and as heads the logits of the disturbed maps.

        Args:
            x: the images.
            rates: of the dropout, one for each stream: ``stream1``, ``stream2``, ... of (B - first, K, *S).
            first: the first sample that is disturbed.
        """
        if not rates:
            answer: SegOutput = self.main(x)
            return answer
        main: Any = self.main
        maps = main.encode(x)
        levels = main.decode(
            [torch.cat([m, *(channel_dropout(m[first:], rate=rate) for rate in rates)]) for m in maps]
        )
        logits: Tensor = main.classify(levels[-1])
        clean, *streams = torch.split(logits, [len(x), *[len(x) - first] * len(rates)])
        return SegOutput(clean, heads={f"stream{i}": z for i, z in enumerate(streams, start=1)})
