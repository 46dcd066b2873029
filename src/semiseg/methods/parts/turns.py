"""Two that take turns of random length, as a pure function of the iteration."""

from __future__ import annotations

from bisect import bisect_right

import torch


class Turns:
    """Whose turn it is, 0 or 1: each lasts for a number of iterations drawn uniformly from 1 to ``longest``.

    Args:
        longest: both ends of the interval can be drawn.
        seed: of the draws; None takes one from torch's generator, which a run seeds alike on all ranks and
        when
            it is resumed.
    """

    def __init__(self, longest: int, seed: int | None = None) -> None:
        self._longest = longest
        drawn = int(torch.randint(2**62, (), device="cpu")) if seed is None else seed
        self._generator = torch.Generator("cpu").manual_seed(drawn)
        self._ends: list[int] = []

    def at(self, step: int) -> int:
        """Whose turn an iteration is; the first one begins."""
        while not self._ends or self._ends[-1] <= step:
            self._ends.append((self._ends[-1] if self._ends else 0) + self._draw())
        return bisect_right(self._ends, step) % 2

    def _draw(self) -> int:
        return int(torch.randint(1, self._longest + 1, (), generator=self._generator, device="cpu"))
