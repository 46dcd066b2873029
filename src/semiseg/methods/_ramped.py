"""What most methods have in common: a supervised term, and one whose weight grows with the run."""

from __future__ import annotations

import torch
from torch import Tensor

from semiseg.core import Clock, Method, Update
from semiseg.losses import dice_ce
from semiseg.schedules import consistency_ramp


class Ramped(Method):
    """``L = 0.5 (CE + Dice) + w(k) consistency``, with ``w(k)`` the sigmoid ramp up to ``weight``.

    Args:
        weight: w_max, at the end of the ramp.
        ramp: its length in iterations; None is the whole stage.
        ramp_unit: it moves in stairs of this many iterations.
        include_background: count class 0 in the Dice term.
    """

    def __init__(
        self, *, weight: float, ramp: int | None, ramp_unit: int, include_background: bool = True
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
