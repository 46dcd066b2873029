"""A method without options, from outside the package."""

from __future__ import annotations

from collections.abc import Iterator

from semiseg.core import Batch, Clock, Method, NetFactory, Update
from semiseg.losses import dice_ce


class Plain(Method):
    """Labels alone."""

    views = ()

    def __init__(self, make_net: NetFactory) -> None:
        super().__init__()
        self.net = make_net()

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        yield Update(dice_ce(self.net(batch.x_l).logits, batch.y_l))
