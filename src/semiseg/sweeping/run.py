"""A sweep from its specification to its end.

The driver: hands cells to workers, and tries again those whose worker died. All else is in the ledger.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from semiseg.errors import Interrupted, PartialError, SemisegError, plural
from semiseg.machine.claim import LOCK, Claim, contents, in_use
from semiseg.machine.files import require_writable, write_text
from semiseg.machine.stopping import StopRequest
from semiseg.machine.worker import WorkerEnd
from semiseg.runs.folder import not_empty
from semiseg.sweeping.executors import Executor
from semiseg.sweeping.grid import SweepCell, grid
from semiseg.sweeping.ledger import CellState, Ledger, enroll, foreseen, snapshot, write_snapshot
from semiseg.sweeping.progress import SweepProgress
from semiseg.sweeping.spec import Spec
from semiseg.sweeping.worker import share_done, shares_done

MARKS = ("cells", "spec.yaml", "sweep.json")
"""What a sweep leaves in its folder, beside the runs."""


@dataclass(frozen=True)
class Outcome:
    """A sweep that has ended, or that was stopped."""

    folder: Path
    board: SweepProgress
    content: dict[str, Any]
    """As in ``sweep.json``."""
    interrupted: bool = False

    def problem(self, again: str = "running the sweep again") -> SemisegError | None:
        """The error to end a command with, or None when every cell is done."""
        counts, total = self.board.counts, len(self.board.entries)
        details = {"folder": str(self.folder), **self.content}
        if self.interrupted:
            done = f"{counts['done']} of {plural(total, 'cell')}"
            text = f"stopped with {done} done; everything is saved in {self.folder}"
            return Interrupted(text, hint=f"{again} continues from there", details=details)
        bad = [entry for entry in self.board.entries if entry.state != "done"]
        if not bad:
            return None
        first = bad[0]
        message = (first.error or {}).get("message", "not finished")
        words = [f"{counts[state]} {state}" for state in ("failed", "dead") if counts[state]]
        return PartialError(
            f"{len(bad)} of {plural(total, 'cell is', 'cells are')} not done ({', '.join(words)}); "
            f"{first.cell.title}: {message}",
            hint=f"{again} repeats those that died; --retry-failed also repeats the others",
            code="CELLS_FAILED",
            details=details,
        )


def plan_sweep(spec: Spec, folder: Path, where: str = "sweep") -> SweepProgress:
    """The cells and what is known of them, runs that would be taken over included; nothing is written.

    Raises:
        UsageError: everything that is wrong with the specification.
    """
    entries = foreseen(Ledger(folder), grid(spec, where))
    return SweepProgress(entries, share=shares_done(folder, (entry.cell for entry in entries)))


def run_sweep(
    spec: Spec,
    folder: Path,
    make_executor: Callable[[], Executor],
    *,
    where: str = "sweep",
    retry_failed: bool = False,
    watch: Watch = lambda board: None,
) -> Outcome:
    """Run every cell that is not done.

    Raises:
        UsageError: everything that is wrong with the specification; a folder that cannot be written.
    """
    cells = list(grid(spec, where))
    require_writable(folder, "--runs or -o")
    _require_sweep(folder)
    with _shared(folder, cells):
        executor = make_executor()
        try:
            ledger = Ledger(folder)
            ledger.tidy()
            plain = spec.model_dump(mode="json", exclude_defaults=True)
            write_text(folder / "spec.yaml", yaml.safe_dump(plain, sort_keys=False))
            whole, entries = spec.model_dump(mode="json"), enroll(ledger, cells)
            driver = Driver(folder, whole, entries, executor, spec.retries, watch)
        except BaseException:
            executor.stop()
            raise
        board = driver.run(retry_failed=retry_failed)
        return Outcome(folder, board, snapshot(driver.spec, board.entries), driver.interrupted)


def _require_sweep(folder: Path) -> None:
    """Refuse a folder with files of something else; runs in their places are taken over (UsageError)."""
    there = contents(folder)
    if not any(entry.name in MARKS for entry in there) and any(entry.is_file() for entry in there):
        raise not_empty(folder, "-o FOLDER", ours=False, kind="a sweep")


@contextmanager
def _shared(folder: Path, cells: Sequence[SweepCell]) -> Iterator[None]:
    """Hold the folder, or share it with who works at the same cells (UsageError: others are at work)."""
    note = hashlib.sha256(" ".join(sorted(cell.id for cell in cells)).encode()).hexdigest()
    with Claim(folder / LOCK, patience=1.0, note=note) as claim:
        if not claim.mine and claim.holder.get("note") != note:
            raise in_use(folder, claim, "--runs or -o")
        yield


Watch = Callable[[SweepProgress], None]
"""Told about every change, and about once a second."""

TICK = 0.5
SECONDS_BETWEEN_SNAPSHOTS = 1.0


@dataclass
class Driver:
    """One sweep on one executor."""

    folder: Path
    spec: dict[str, Any]
    entries: Sequence[CellState]
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

    def run(self, *, retry_failed: bool = False) -> SweepProgress:
        """Work until every cell is done, failed or given up, or until somebody says stop."""
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

    def board(self) -> SweepProgress:
        """How far it is."""
        now = time.monotonic()
        here = {id: now - since for id, since in self._started.items()}
        busy = (self._state[id].cell for id in (*here, *self._elsewhere))
        self._share.update(shares_done(self.folder, busy))
        return SweepProgress(
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
                del self._started[ended.name]
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
            self.executor.submit(self.ledger.job(cell_id, self.executor.threads))
            self._started[cell_id] = time.monotonic()
            self._before[cell_id] = share_done(self.folder, entry.cell)

    def _collect(self, ended: WorkerEnd) -> None:
        """See what became of a cell whose worker has ended."""
        entry = self._refresh(ended.name)
        if entry.state in ("done", "failed"):
            self._tell(force=True)
        elif self.ledger.is_taken(entry.cell):
            self._elsewhere.add(ended.name)
        else:
            self._give_up_or_retry(entry, ended.how)

    def _give_up_or_retry(self, entry: CellState, how: str) -> None:
        """A worker left its cell unfinished: try it again, at the end, or give it up."""
        self._deaths[entry.cell.id] += 1
        if entry.state != "dead":  # a worker that could still write has told why
            error = SemisegError(
                f"its process {how}",
                hint=f"see the log {self.ledger.job(entry.cell.id).log}",
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

    def _refresh(self, cell_id: str) -> CellState:
        self._state[cell_id] = self.ledger.must_read(cell_id)
        return self._state[cell_id]

    def _write(self, entry: CellState) -> None:
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
