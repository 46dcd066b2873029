"""Supervised training on the labeled scans alone: the lower bound of every comparison, and with all labels
the upper bound.
"""

from __future__ import annotations

from collections.abc import Iterator

from semiseg.core import Batch, Clock, Method, NetFactory, Update
from semiseg.losses import dice_ce
from semiseg.methods._facts import Facts, Paper


class Supervised(Method):
    """Learn from the labeled scans alone.

    ``L = 0.5 (CE + Dice)(net(x_l), y_l)``

    The lower bound of every comparison, and with all labels (``--labeled`` left out) the upper bound. If
    unlabeled scans do not help on your data, this is how you learn it. Network, Dice term and cross-entropy
    are those of the left-atrium and ACDC tables; the V-Net paper has the Dice term alone. All scans of a
    batch are labeled ones.

    Args:
        include_background: count class 0 in the Dice term.
    """

    facts = Facts(
        title="Supervised",
        family="Baselines",
        papers=(Paper("V-Net", "Milletari et al.", "3DV", 2016, "arXiv:1606.04797"),),
        networks=1,
        trained=1,
        views=(),
        work=1.0,
    )

    views = facts.views
    regions = True
    partial = True

    def __init__(self, make_net: NetFactory, *, include_background: bool = True) -> None:
        super().__init__()
        self.net = make_net()
        self.include_background = include_background

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """``L = 0.5 (CE + Dice)`` on (x_l, y_l)."""
        logits = self.net(batch.x_l).logits
        yield Update(dice_ce(logits, batch.y_l, include_background=self.include_background))
