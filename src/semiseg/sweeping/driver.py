"""The driver: hands cells to workers, and tries again those whose worker died. All else is in the ledger."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semiseg.engine.signals import StopRequest
from semiseg.errors import SemisegError
from semiseg.sweeping.board import Board
from semiseg.sweeping.executors import Ended, Executor, Job
from semiseg.sweeping.ledger import Entry, Ledger
from semiseg.sweeping.progress import share_done, shares_done
from semiseg.sweeping.snapshot import write_snapshot

Watch = Callable[[Board], None]
"""Told about every change, and about once a second."""

TICK = 0.5
SECONDS_BETWEEN_SNAPSHOTS = 1.0


@dataclass
class Driver:
    """One sweep on one executor.

    Attributes:
        folder: of the sweep.
        spec: as plain values, for ``sweep.json``.
        entries: of the specification's cells, in order.
        executor: where workers run.
        retries: how often a cell whose process died is tried again.
        watch: see :data:`Watch`.
    """

    folder: Path
    spec: dict[str, Any]
    entries: Sequence[Entry]
    executor: Executor
    retries: int = 2
    watch: Watch = lambda board: None
    interrupted: bool = False
    _deaths: Counter[str] = field(default_factory=Counter)
    _started: dict[str, float] = field(default_factory=dict)
    _before: dict[str, float] = field(default_factory=dict)
    _elsewhere: set[str] = field(default_factory=set)
    _said: float = 0.0

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.folder)
        self._state = {entry.cell.id: entry for entry in self.entries}
        self._share = shares_done(self.folder, (entry.cell for entry in self.entries))
        self._queue: deque[str] = deque()
        self._given_up: set[str] = set()

    def run(self, *, retry_failed: bool = False) -> Board:
        """Work until every cell is done, failed or given up, or until somebody says stop.

        Args:
            retry_failed: also run the cells that failed before.

        Returns:
            The last board; ``interrupted`` tells whether the sweep was stopped.
        """
        skipped = {"done"} if retry_failed else {"done", "failed"}
        self._queue.extend(id for id, entry in self._state.items() if entry.state not in skipped)
        self._tell(force=True)
        with StopRequest() as stop:
            try:
                while (self._queue or self._started or self._elsewhere) and not stop.raised:
                    self._turn()
            except KeyboardInterrupt:
                stop.raised = True
            finally:
                self._end(stop)
        self.interrupted = stop.raised
        self._tell(force=True)
        return self.board()

    def board(self) -> Board:
        """How far it is."""
        now = time.monotonic()
        here = {id: now - since for id, since in self._started.items()}
        busy = (self._state[id].cell for id in (*here, *self._elsewhere))
        self._share.update(shares_done(self.folder, busy))
        return Board(
            list(self._state.values()),
            here,
            dict(self._share),
            self._before,
            max(self.executor.slots, 1),
            frozenset(self._given_up),
        )

    def _turn(self) -> None:
        """Fill free places, wait a little, see what has ended."""
        while self._queue and len(self._started) < self.executor.slots:
            self._start(self._queue.popleft())
        if self._started:
            self._tell()
            for ended in self.executor.ended(TICK):
                del self._started[ended.cell]
                self._collect(ended)
        else:
            time.sleep(TICK)
        for cell_id in sorted(self._elsewhere):
            self._look_elsewhere(cell_id)
        self._tell()

    def _start(self, cell_id: str) -> None:
        before = self._state[cell_id].state
        entry = self._refresh(cell_id)
        if self.ledger.is_taken(entry.cell):
            self._elsewhere.add(cell_id)
        elif entry.state == before or entry.state not in ("done", "failed"):  # else another driver was faster
            self.executor.submit(Job(self.folder.absolute(), cell_id, self.executor.threads))
            self._started[cell_id] = time.monotonic()
            self._before[cell_id] = share_done(self.folder, entry.cell)

    def _collect(self, ended: Ended) -> None:
        """See what became of a cell whose worker has ended."""
        entry = self._refresh(ended.cell)
        if entry.state in ("done", "failed"):
            self._tell(force=True)
        elif self.ledger.is_taken(entry.cell):
            self._elsewhere.add(ended.cell)
        else:
            self._bury(entry, ended.how)

    def _bury(self, entry: Entry, how: str) -> None:
        """A worker left its cell unfinished: try it again, at the end, or give it up."""
        self._deaths[entry.cell.id] += 1
        if entry.state != "dead":  # a worker that could still write has told why
            error = SemisegError(
                f"its process {how}",
                hint=f"see {self.folder / 'cells' / entry.cell.id}.log",
                code="WORKER_DIED",
            )
            self._write(entry.died(error))
        if self._deaths[entry.cell.id] > self.retries:
            self._given_up.add(entry.cell.id)
        else:
            self._queue.append(entry.cell.id)
        self._tell(force=True)

    def _look_elsewhere(self, cell_id: str) -> None:
        """Another driver had the cell: take it over when that has ended without finishing it."""
        if self.ledger.is_taken(self._state[cell_id].cell):
            self._refresh(cell_id)
            return
        self._elsewhere.discard(cell_id)
        if self._refresh(cell_id).state not in ("done", "failed"):
            self._queue.append(cell_id)

    def _end(self, stop: StopRequest) -> None:
        """Let workers save, or, at a second Ctrl-C, end them at once."""
        try:
            self.executor.stop()
        except KeyboardInterrupt:
            stop.raised = True
            self.executor.kill()
        for cell_id in self._started:
            entry = self._refresh(cell_id)
            if entry.state == "running":
                self._write(entry.again())
        self._started.clear()

    def _refresh(self, cell_id: str) -> Entry:
        self._state[cell_id] = self.ledger.must_read(cell_id)
        return self._state[cell_id]

    def _write(self, entry: Entry) -> None:
        with self.ledger.claim(entry.cell) as claim:
            if claim.mine:
                self.ledger.write(entry)
        self._state[entry.cell.id] = entry

    def _tell(self, *, force: bool = False) -> None:
        """Bring ``sweep.json`` and whoever watches up to date, not more than once a second."""
        now = time.monotonic()
        if not force and now - self._said < SECONDS_BETWEEN_SNAPSHOTS:
            return
        self._said = now
        for cell_id in self._started:
            self._refresh(cell_id)
        write_snapshot(self.folder, self.spec, self._state.values())
        self.watch(self.board())
