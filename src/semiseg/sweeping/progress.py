"""How far a sweep is: counts, time that is left, a table that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import functools
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from semiseg import methods
from semiseg.drawing.table import STYLES, Column, Table, TableCell, heads, table_of, terminal
from semiseg.errors import SemisegError
from semiseg.runs.console import duration
from semiseg.sweeping.grid import SweepCell
from semiseg.sweeping.ledger import CellState

if TYPE_CHECKING:
    from rich.console import RenderableType

OVER = ("done", "failed")
"""States that need no more work; a dead cell that will be tried again waits."""


@functools.cache
def work_of(method: str) -> float:
    """Cost of a step in supervised steps, as far as the method tells it."""
    try:
        return methods.description(method).facts.work or 1.0
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


METRIC = "Dice"


def summary_line(board: SweepProgress) -> str:
    """``12 of 104 done, 2 running, 1 failed; 1 h 20 min left``."""
    counts = board.counts
    words = [f"{counts['done']} of {len(board.entries)} done"]
    words += [f"{counts[state]} {state}" for state in ("running", "failed", "dead") if counts[state]]
    seconds = board.seconds_left
    left = "" if not board.remaining or seconds is None else f"; {duration(seconds)} left"
    return ", ".join(words) + left


def result_table(board: SweepProgress) -> Table:
    """One row per dataset and variant, one column per number of labels: mean Dice, and how many are done."""
    groups: dict[tuple[str, str], dict[str, list[CellState]]] = {}
    for entry in board.entries:
        row = groups.setdefault((entry.cell.dataset, entry.cell.variant), {})
        row.setdefault(entry.cell.budget, []).append(entry)
    budgets = sorted({entry.cell.budget for entry in board.entries}, key=_amount)
    titles = ("dataset", "variant", *(f"labeled {budget}" for budget in budgets))
    rows = tuple(
        (*map(TableCell, names), *(_result(row.get(budget, []), board) for budget in budgets))
        for names, row in groups.items()
    )
    return Table("", heads(titles, left=2), rows, (f"mean {METRIC} (cells done)",))


def cell_table(board: SweepProgress) -> Table:
    """Every cell with its cost, how far it is trained and its state, for ``--dry-run``."""
    columns: list[tuple[Column | str, Callable[[CellState], TableCell | str]]] = [
        ("cell", lambda entry: entry.cell.id),
        ("dataset", lambda entry: entry.cell.dataset),
        ("variant", lambda entry: entry.cell.variant + (f" ({b} bound)" if (b := entry.cell.bound) else "")),
        ("labeled", lambda entry: _labeled(entry.cell)),
        ("fold", lambda entry: str(entry.cell.fold)),
        ("seed", lambda entry: str(entry.cell.seed)),
        ("cost", lambda entry: f"{cost(entry.cell):.0f}"),
        ("trained", lambda entry: f"{board.share.get(entry.cell.id, 0.0):.0%}"),
        (Column("state", number=False), lambda entry: TableCell(entry.state, state=entry.state)),
    ]
    note = "cost: iterations, times what an iteration costs in supervised ones"
    return table_of("", board.entries, columns, [note], left=4)


def _labeled(cell: SweepCell) -> str:
    return cell.budget if cell.budget == str(cell.labeled) else f"{cell.budget} ({cell.labeled})"


@contextmanager
def watching(progress: bool, quiet: bool = False) -> Iterator[Callable[[SweepProgress], None]]:
    """What to tell a sweep's board to while it runs: a live table, plain lines, or nothing when ``quiet``."""
    if quiet:
        yield lambda board: None
    elif progress:
        yield from _live()
    else:
        yield Lines()


class Lines:
    """A line for every cell that ends, fails or dies."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._seen: dict[str, tuple[str, int]] = {}

    def __call__(self, board: SweepProgress) -> None:
        """Say what is new."""
        now = {entry.cell.id: (str(entry.state), entry.attempts) for entry in board.entries}
        if not self._seen:
            self._seen = now
            self._say(summary_line(board))
        changed = [entry for entry in board.entries if self._seen[entry.cell.id] != now[entry.cell.id]]
        self._seen = now
        for entry in changed:
            if entry.state in ("done", "failed", "dead"):
                self._say(f"{entry.cell.title}: {_outcome(entry)} ({summary_line(board)})")

    def _say(self, line: str) -> None:
        stream = self._stream or sys.stderr
        stream.write(line + "\n")
        stream.flush()


def _live() -> Iterator[Callable[[SweepProgress], None]]:
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        yield lambda board: live.update(_moment(board, live.console.height), refresh=True)


def _moment(board: SweepProgress, height: int) -> RenderableType:
    """The table if it fits, with the running and the failed cells below."""
    from rich.console import Group
    from rich.text import Text

    lines = []
    for entry in board.entries:
        if entry.state == "running":
            share = board.share.get(entry.cell.id, 0.0)
            since = duration(board.running.get(entry.cell.id, float("nan")))
            lines.append(Text(f"{entry.cell.title}: {share:.0%} after {since}", STYLES["running"]))
    for entry in board.entries:
        if entry.state in ("failed", "dead"):
            lines.append(Text(f"{entry.cell.title}: {_outcome(entry)}", STYLES[entry.state]))
    rows = len({(entry.cell.dataset, entry.cell.variant) for entry in board.entries}) + 5
    head = Text(summary_line(board), "bold")
    room = max(height - 2 - (rows if rows < height - 4 else 0), 1)
    parts: list[RenderableType] = [terminal(result_table(board))] if rows < height - 4 else []
    return Group(head, *parts, *lines[:room])


def _outcome(entry: CellState) -> str:
    if entry.state == "done":
        value = (entry.result or {}).get(METRIC)
        return f"{METRIC} {'undefined' if value is None else f'{value:.4f}'} in {duration(entry.seconds)}"
    return f"{entry.state}: {(entry.error or {}).get('message', '')}"


def _result(entries: Sequence[CellState], board: SweepProgress) -> TableCell:
    """``0.871 (2/2)``, or what keeps it from being so."""
    done = [entry for entry in entries if entry.state == "done"]
    values = [v for entry in done if (v := (entry.result or {}).get(METRIC)) is not None]
    parts = [f"{sum(values) / len(values):.4f}"] if values else []
    if len(done) < len(entries) or len(entries) > 1:
        parts.append(f"({len(done)}/{len(entries)})")
    running = [board.share.get(entry.cell.id, 0.0) for entry in entries if entry.state == "running"]
    failed = [str(entry.state) for entry in entries if entry.state in ("failed", "dead")]
    parts += [*(f"{share:.0%}" for share in running), *failed]
    return TableCell(" ".join(parts), state="failed" if failed else "running" if running else "")


def _amount(budget: str) -> tuple[bool, int]:
    """By size, ``all`` last."""
    digits = "".join(c for c in budget if c.isdigit())
    return budget == "all", int(digits or 0)
