"""Supervised training on the labeled scans alone: the lower bound of every comparison, and with all labels
the upper bound.
"""

from __future__ import annotations

from collections.abc import Iterator

from semiseg.core import Batch, Clock, Method, NetFactory, Update
from semiseg.losses import dice_ce


class Supervised(Method):
    """Cross-entropy plus Dice on labeled scans, nothing else.

    Paper: V-Net, Milletari et al., 3DV 2016, arXiv:1606.04797 (loss and network of the left-atrium tables).
    Networks: 1. Views: none.

    Args:
        make_net: returns a fresh network.
        include_background: count class 0 in the Dice term.
    """

    views = ()

    def __init__(self, make_net: NetFactory, *, include_background: bool = True) -> None:
        super().__init__()
        self.net = make_net()
        self.include_background = include_background

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """``L = 0.5 (CE + Dice)`` on (x_l, y_l)."""
        logits = self.net(batch.x_l).logits
        yield Update(dice_ce(logits, batch.y_l, include_background=self.include_background))
