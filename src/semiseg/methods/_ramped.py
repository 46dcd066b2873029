"""What most methods have in common: a supervised term, and one whose weight grows with the run."""

from __future__ import annotations

import torch
from torch import Tensor

from semiseg.core import Clock, Method, Update
from semiseg.losses import dice_ce
from semiseg.option_values import Amount, Length
from semiseg.schedules import consistency_ramp


class Ramped(Method):
    """``L = 0.5 (CE + Dice) + w(k) consistency``, with ``w(k)`` the sigmoid ramp up to ``weight``.

    A method of this kind passes the options that it leaves as they are on to here, as ``**ramped``. They are
    described here, unless it has to say more about one.

    Args:
        weight: w_max, the weight of the second term at the end of the ramp.
        ramp: length of the sigmoid ramp of w(k), in iterations; None is the whole run, as in most published
            codes (200 units of 150).
        ramp_unit: the ramp moves in stairs of this many iterations (150 in the published codes).
        include_background: count class 0 in the Dice term.
    """

    def __init__(
        self,
        *,
        weight: Amount = 0.1,
        ramp: Length | None = None,
        ramp_unit: Length = 1,
        include_background: bool = True,
    ) -> None:
        super().__init__()
        self.weight, self.ramp, self.ramp_unit = weight, ramp, ramp_unit
        self.include_background = include_background

    def supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        """``0.5 (CE + Dice)`` of logits (B, K, *S) and classes (B, *S)."""
        return dice_ce(logits, target, include_background=self.include_background)

    def consistency_weight(self, t: Clock) -> float:
        """``w(k)``."""
        length = t.total if self.ramp is None else self.ramp
        return self.weight * consistency_ramp(t.step, length, self.ramp_unit)

    def total(
        self, supervised: Tensor, consistency: Tensor, t: Clock, *, on: str = "net", **logs: Tensor
    ) -> Update:
        """``supervised + w(k) consistency`` with its parts in the log; those of ``net2`` end in 2."""
        w = self.consistency_weight(t)
        parts = {"supervised": supervised, "consistency": consistency, "weight": torch.tensor(w), **logs}
        number = on.removeprefix("net")
        named = {f"{name}{number}": part.detach() for name, part in parts.items()}
        return Update(supervised + w * consistency, on=on, logs=named)
