"""Updates that were skipped, counted on the device: the loop need not wait to know."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Found:
    """What :meth:`Skips.read` tells."""

    new: int
    """Iterations with a skipped update since the last reading."""
    longest: int
    """Most of them in a row since then; those before the reading count in."""


class Skips:
    """Iterations with an update that was not finite: in all, and in a row.

    Args:
        device: where the flags are.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._counts = torch.zeros(3, dtype=torch.int64, device=device)  # all, in a row, longest row
        self._told = 0

    def add(self, finite: Tensor) -> None:
        """Note an iteration's flag, a bool scalar on the device."""
        total, row, longest = self._counts.unbind()
        bad = (~finite).long()
        row = (row + bad) * bad
        self._counts = torch.stack([total + bad, row, torch.maximum(longest, row)])

    def read(self) -> Found:
        """What is new since the last reading; waits for the device."""
        total, row, longest = self._counts.tolist()
        new, self._told = total - self._told, total
        self._counts[2] = row
        return Found(new, longest)

    @property
    def total(self) -> int:
        """Iterations with a skipped update."""
        return int(self._counts[0])

    @property
    def in_a_row(self) -> int:
        """Those up to now without a good one between them."""
        return int(self._counts[1])

    def restore(self, total: int, in_a_row: int) -> None:
        """Go on from :attr:`total` and :attr:`in_a_row`."""
        self._counts = torch.tensor([total, in_a_row, in_a_row], device=self.device)
        self._told = total
