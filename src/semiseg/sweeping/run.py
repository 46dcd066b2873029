"""A sweep from its specification to its end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from semiseg.atomic import write_text
from semiseg.claim import LOCK, Claim, in_use
from semiseg.errors import Interrupted, PartialError, SemisegError
from semiseg.sweeping.board import Board
from semiseg.sweeping.cells import Cell
from semiseg.sweeping.driver import Driver, Watch
from semiseg.sweeping.enroll import enroll, foreseen
from semiseg.sweeping.executors import Executor
from semiseg.sweeping.grid import grid
from semiseg.sweeping.ledger import Ledger
from semiseg.sweeping.progress import shares_done
from semiseg.sweeping.snapshot import snapshot
from semiseg.sweeping.spec import Spec
from semiseg.writable import require_writable


@dataclass(frozen=True)
class Outcome:
    """A sweep that has ended, or that was stopped."""

    folder: Path
    board: Board
    content: dict[str, Any]
    """As in ``sweep.json``."""
    interrupted: bool = False

    def problem(self, again: str = "running the sweep again") -> SemisegError | None:
        """The error to end a command with, or None when every cell is done.

        Args:
            again: what to do to go on, such as ``the same command``.
        """
        counts, total = self.board.counts, len(self.board.entries)
        details = {"folder": str(self.folder), **self.content}
        if self.interrupted:
            text = (
                f"stopped with {counts['done']} of {total} cells done; everything is saved in {self.folder}"
            )
            return Interrupted(text, hint=f"{again} goes on from there", details=details)
        bad = [entry for entry in self.board.entries if entry.state != "done"]
        if not bad:
            return None
        first = bad[0]
        message = (first.error or {}).get("message", "not finished")
        words = [f"{counts[state]} {state}" for state in ("failed", "dead") if counts[state]]
        return PartialError(
            f"{len(bad)} of {total} cells are not done ({', '.join(words)}); {first.cell.title}: {message}",
            hint=f"{again} tries those that died once more, with --retry-failed the others too",
            code="CELLS_FAILED",
            details=details,
        )


def plan_sweep(spec: Spec, folder: Path, where: str = "sweep") -> Board:
    """The cells and what is known of them, runs that would be taken over included; nothing is written.

    Args:
        spec: what is wanted.
        folder: of the sweep.
        where: the file of the specification, for messages.

    Raises:
        UsageError: everything that is wrong with the specification.
    """
    entries = foreseen(Ledger(folder), grid(spec, where))
    return Board(entries, share=shares_done(folder, (entry.cell for entry in entries)))


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

    Args:
        spec: what is wanted.
        folder: of the sweep; made where it does not exist.
        make_executor: gives the place for workers; called once the specification is known to be right.
        where: the file of the specification, for messages.
        retry_failed: also run the cells that failed before.
        watch: told how far it is.

    Raises:
        UsageError: everything that is wrong with the specification; a folder that cannot be written.
    """
    cells = list(grid(spec, where))
    require_writable(folder, "--runs or -o")
    with _shared(folder, cells):
        return _run(spec, cells, folder, make_executor, retry_failed=retry_failed, watch=watch)


@contextmanager
def _shared(folder: Path, cells: Sequence[Cell]) -> Iterator[None]:
    """Hold the folder, or share it with whoever works at the same cells.

    Raises:
        UsageError: a sweep of other cells is at work there.
    """
    note = hashlib.sha256(" ".join(sorted(cell.id for cell in cells)).encode()).hexdigest()
    with Claim(folder / LOCK, patience=1.0, note=note) as claim:
        if not claim.mine and claim.holder.get("note") != note:
            raise in_use(folder, claim, "--runs or -o")
        yield


def _run(
    spec: Spec,
    cells: Sequence[Cell],
    folder: Path,
    make_executor: Callable[[], Executor],
    *,
    retry_failed: bool,
    watch: Watch,
) -> Outcome:
    executor = make_executor()
    try:
        ledger = Ledger(folder)
        ledger.tidy()
        plain = spec.model_dump(mode="json", exclude_defaults=True)
        write_text(folder / "spec.yaml", yaml.safe_dump(plain, sort_keys=False))
        driver = Driver(
            folder=folder,
            spec=spec.model_dump(mode="json"),
            entries=enroll(ledger, cells),
            executor=executor,
            retries=spec.retries,
            watch=watch,
        )
    except BaseException:
        executor.stop()
        raise
    board = driver.run(retry_failed=retry_failed)
    content = snapshot(driver.spec, board.entries)
    return Outcome(folder, board, content, driver.interrupted)
