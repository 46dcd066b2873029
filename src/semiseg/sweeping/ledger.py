"""The state of a sweep on disk: one small file per cell, whole at every moment, written by its holder alone.

A cell that says ``running`` while nobody holds its claim was killed. Nothing else needs to be kept: a driver
can die at any point, and the next one reads the same files.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from semiseg import manifest
from semiseg.atomic import remove_leftovers, write_json
from semiseg.claim import Claim, taken
from semiseg.errors import SemisegError, UsageError
from semiseg.sweeping.cells import Cell

State = Literal["waiting", "running", "done", "failed", "dead"]


class Entry(BaseModel):
    """A cell and what became of it so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: Cell
    state: State = "waiting"
    attempts: int = 0
    error: dict[str, str] | None = None
    result: dict[str, float | None] | None = None
    seconds: float = 0.0
    """Of all attempts together, as far as known."""
    trained: float = 0.0
    """The share of the training that was done in those seconds; none where a finished run was taken over."""
    where: str | None = None
    """Host, process and device of the last attempt."""
    changed: str = ""

    def started(self, device: str) -> Entry:
        """The same at the beginning of an attempt."""
        where = f"{socket.gethostname()} {os.getpid()} {device}"
        return self._with(state="running", attempts=self.attempts + 1, error=None, where=where)

    def ended(self, state: State, seconds: float, trained: float, **more: Any) -> Entry:
        """The same after an attempt that took ``seconds`` for a share of the training."""
        total = {"seconds": round(self.seconds + seconds, 1), "trained": round(self.trained + trained, 4)}
        return self._with(state=state, **total, **more)

    def died(self, error: SemisegError) -> Entry:
        """The same after its process died."""
        return self._with(state="dead", error=told(error))

    def again(self) -> Entry:
        """The same as one that waits to be tried once more."""
        return self._with(state="waiting", error=None)

    def _with(self, **fields: Any) -> Entry:
        return self.model_copy(update={**fields, "changed": manifest.now()})


def told(error: SemisegError) -> dict[str, str]:
    """An error as the ledger keeps it."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


class Ledger:
    """The cells of a sweep folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cells = folder / "cells"

    def read(self, cell_id: str) -> Entry | None:
        """What is known of a cell.

        Raises:
            UsageError: its file is damaged.
        """
        path = self.cells / f"{cell_id}.json"
        try:
            return Entry.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise UsageError(
                f"{path} is not an entry of a sweep",
                hint="delete the file: what the run folder holds is found again",
                code="BAD_LEDGER",
            ) from None

    def must_read(self, cell_id: str) -> Entry:
        """What is known of a cell that was recorded.

        Raises:
            UsageError: it is not there.
        """
        entry = self.read(cell_id)
        if entry is None:
            raise UsageError(
                f"no cell {cell_id} in {self.folder}",
                hint="workers on other machines must see the sweep folder under the same path",
                code="NO_CELL",
            )
        return entry

    def write(self, entry: Entry) -> None:
        """Keep an entry; only whoever holds the cell's claim may."""
        write_json(self.cells / f"{entry.cell.id}.json", entry.model_dump(mode="json"))

    def claim(self, cell: Cell, patience: float = 0.0) -> Claim:
        """The right to write into the cell's run folder and its entry."""
        return Claim(self._lock(cell), patience)

    def is_taken(self, cell: Cell) -> bool:
        """Whether another process is at work on it."""
        return taken(self._lock(cell))

    def everything(self) -> dict[str, Entry]:
        """Cell id -> entry, also those of earlier specifications."""
        return {path.stem: self.must_read(path.stem) for path in sorted(self.cells.glob("*.json"))}

    def planning(self) -> Claim:
        """The right to add cells."""
        return Claim(self.folder / ".planning.lock", patience=60.0)

    def tidy(self) -> None:
        """Remove what writers that were killed left half-written."""
        for folder in (self.folder, self.cells):
            remove_leftovers(folder, older_than=60.0)

    def _lock(self, cell: Cell) -> Path:
        place = self.folder / cell.place
        return place.with_name(f".{place.name}.lock")
