"""How far a sweep is: counts, share done of what is running, and the time that is left."""

from __future__ import annotations

import functools
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from semiseg import methods
from semiseg.errors import SemisegError
from semiseg.sweeping.grid import SweepCell
from semiseg.sweeping.ledger import CellState

OVER = ("done", "failed")
"""States that need no more work; a dead cell that will be tried again waits."""


@functools.cache
def work_of(method: str) -> float:
    """Cost of a step in supervised steps, as far as the method's docstring tells."""
    try:
        return methods.description(method).work or 1.0
    except SemisegError:
        return 1.0


def cost(cell: SweepCell) -> float:
    """What a cell costs, in supervised iterations."""
    return cell.iterations * work_of(cell.method)


@dataclass(frozen=True)
class SweepProgress:
    """A moment of a sweep."""

    entries: Sequence[CellState]
    """In the order of the specification."""
    running: dict[str, float] = field(default_factory=dict)
    """Cell id -> seconds since it was started by this driver."""
    share: dict[str, float] = field(default_factory=dict)
    """Cell id -> share of its training that is done, from 0 to 1."""
    before: dict[str, float] = field(default_factory=dict)
    """Cell id -> the share that was done when this driver started it."""
    slots: int = 1
    given_up: frozenset[str] = frozenset()
    """Dead cells that are not tried again."""

    @property
    def counts(self) -> Counter[str]:
        """State -> number of cells."""
        return Counter(entry.state for entry in self.entries)

    @property
    def remaining(self) -> list[CellState]:
        """The cells that still need work."""
        return [e for e in self.entries if e.state not in OVER and e.cell.id not in self.given_up]

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the cells that are done, or else from those that are running; None without any."""
        remaining = self.remaining
        if not remaining:
            return 0.0
        rates = self._rates()
        if not rates:
            return None
        usual = statistics.median(rate for found in rates.values() for rate in found)
        total = 0.0
        for entry in remaining:
            found = rates.get(entry.cell.dataset)
            rate = statistics.median(found) if found else usual
            total += rate * cost(entry.cell) * (1.0 - self.share.get(entry.cell.id, 0.0))
        return total / max(min(self.slots, len(remaining)), 1)

    def _rates(self) -> dict[str, list[float]]:
        """Dataset -> seconds per supervised iteration."""
        rates: dict[str, list[float]] = {}
        for entry in self.entries:
            cell = entry.cell
            share = self.share.get(cell.id, 0.0) - self.before.get(cell.id, 0.0)
            if entry.state == "done" and entry.trained:
                rates.setdefault(cell.dataset, []).append(entry.seconds / (entry.trained * cost(cell)))
            elif share > 0.05 and cell.id in self.running:
                rates.setdefault(cell.dataset, []).append(self.running[cell.id] / (share * cost(cell)))
        return rates
