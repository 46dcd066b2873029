"""The state of a sweep on disk: one small file per cell, whole at every moment, written by its holder alone.

A cell that says ``running`` while nobody holds its claim was killed. Nothing else needs to be kept: a driver
can die at any point, and the next one reads the same files. ``sweep.json`` has the whole sweep in one file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from semiseg.errors import SemisegError, UsageError
from semiseg.machine import provenance
from semiseg.machine.claim import Claim, contents, taken
from semiseg.machine.files import read_json, remove_leftovers, write_json
from semiseg.machine.worker import WorkerJob
from semiseg.runs.run import differences, load_run
from semiseg.settings.resolve import validate
from semiseg.sweeping.grid import SweepCell

State = Literal["waiting", "running", "done", "failed", "dead"]


class CellState(BaseModel):
    """A cell and what became of it so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: SweepCell
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

    def started(self, device: str) -> CellState:
        """The same at the beginning of an attempt."""
        where = f"{socket.gethostname()} {os.getpid()} {device}"
        return self._with(state="running", attempts=self.attempts + 1, error=None, where=where)

    def ended(self, state: State, seconds: float, trained: float, **more: Any) -> CellState:
        """The same after an attempt that took ``seconds`` for a share of the training."""
        total = {"seconds": round(self.seconds + seconds, 1), "trained": round(self.trained + trained, 4)}
        return self._with(state=state, **total, **more)

    def died(self, error: SemisegError) -> CellState:
        """The same after its process died."""
        return self._with(state="dead", error=as_error_dict(error))

    def again(self) -> CellState:
        """The same as one that waits to be tried once more."""
        return self._with(state="waiting", error=None)

    def _with(self, **fields: Any) -> CellState:
        return self.model_copy(update={**fields, "changed": provenance.now()})


def as_error_dict(error: SemisegError) -> dict[str, str]:
    """An error as the ledger keeps it."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


class Ledger:
    """The cells of a sweep folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cells = folder / "cells"

    def job(self, cell_id: str, threads: int = 0) -> WorkerJob:
        """What a worker does that works at a cell."""
        return WorkerJob("semiseg.sweeping.worker", self.cells.absolute(), cell_id, threads)

    def read(self, cell_id: str) -> CellState | None:
        """What is known of a cell (UsageError: its file is damaged)."""
        path = self.job(cell_id).file
        try:
            return CellState.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise UsageError(
                f"{path} is not an entry of a sweep",
                hint="delete the file: what the run folder holds is found again",
                code="BAD_LEDGER",
            ) from None

    def must_read(self, cell_id: str) -> CellState:
        """What is known of a cell that was recorded (UsageError: it is not there)."""
        entry = self.read(cell_id)
        if entry is None:
            raise UsageError(
                f"no cell {cell_id} in {self.folder}",
                hint="workers on other machines must see the sweep folder under the same path",
                code="NO_CELL",
            )
        return entry

    def write(self, entry: CellState) -> None:
        """Keep an entry; only whoever holds the cell's claim may."""
        write_json(self.job(entry.cell.id).file, entry.model_dump(mode="json"))

    def claim(self, cell: SweepCell) -> Claim:
        """The right to write into the cell's run folder and its entry."""
        return Claim(self._lock(cell))

    def is_taken(self, cell: SweepCell) -> bool:
        """Whether another process is at work on it."""
        return taken(self._lock(cell))

    def everything(self) -> dict[str, CellState]:
        """Cell id -> entry, also those of earlier specifications."""
        return {path.stem: self.must_read(path.stem) for path in sorted(self.cells.glob("*.json"))}

    def planning(self) -> Claim:
        """The right to add cells."""
        return Claim(self.folder / ".planning.lock", patience=60.0)

    def tidy(self) -> None:
        """Remove what writers that were killed left half-written."""
        for folder in (self.folder, self.cells):
            remove_leftovers(folder)

    def _lock(self, cell: SweepCell) -> Path:
        place = self.folder / cell.place
        return place.with_name(f".{place.name}.lock")


def enroll(ledger: Ledger, cells: Iterable[SweepCell]) -> list[CellState]:
    """The entries of these cells, new ones written as waiting.

    An entry that says ``done`` of scores that are gone, or that another specification has since overwritten,
    waits again.
    """
    with ledger.planning():
        known = ledger.everything()
        entries = _with_cells(ledger.folder, known, cells)
        for entry in entries:
            if entry != known.get(entry.cell.id):
                with ledger.claim(entry.cell) as claim:
                    if claim.mine:  # else somebody is at work on it and will write the entry
                        ledger.write(entry)
        return entries


def foreseen(ledger: Ledger, cells: Iterable[SweepCell]) -> list[CellState]:
    """The entries that these cells would get; nothing is written."""
    return _with_cells(ledger.folder, ledger.everything(), cells)


def _with_cells(folder: Path, known: Mapping[str, CellState], cells: Iterable[SweepCell]) -> list[CellState]:
    places: dict[str, set[str]] = {}
    for entry in known.values():
        places.setdefault(entry.cell.place, set()).add(entry.cell.training)
    return [_entry(folder, known.get(cell.id), cell, places) for cell in cells]


def _entry(folder: Path, before: CellState | None, cell: SweepCell, places: dict[str, set[str]]) -> CellState:
    place = before.cell.place if before else _free_place(folder, cell, places)
    places.setdefault(place, set()).add(cell.training)
    cell = cell.model_copy(update={"place": place})
    entry = before.model_copy(update={"cell": cell}) if before else CellState(cell=cell)
    return entry.again() if entry.state == "done" and not is_scored(folder, cell) else entry


def is_scored(folder: Path, cell: SweepCell) -> bool:
    """Whether the scores of a cell are there, counted as it wants them."""
    try:
        summary = read_json(folder / cell.scores / "summary.json")
        rules = (summary["convention"], float(summary["nsd_tolerance_mm"]))
        scored = {case["case"] for case in summary["metric_per_case"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    wanted = cell.scoring
    table = (folder / cell.scores / "metrics.csv").is_file()
    return table and rules == (wanted.convention, wanted.nsd_tolerance) and scored == set(wanted.cases)


def _free_place(folder: Path, cell: SweepCell, places: dict[str, set[str]]) -> str:
    """The usual place, or one of its own where the usual one holds another training."""
    others = places.get(cell.place, set()) - {cell.training}
    if not others and _suits(folder / cell.place, cell):
        return cell.place
    return f"{cell.place}_{cell.training}"


def _suits(path: Path, cell: SweepCell) -> bool:
    """Whether the cell can begin in a folder, or go on with the run that is there."""
    if not contents(path):
        return True
    try:
        run = load_run(path)
        same = run.manifest.get("split_sha256") == cell.split
        return same and not differences(run.config, validate(cell.config))
    except SemisegError:
        return False


HIDDEN = {"training", "split", "root", "config", "scoring", "place"}
"""Fields of a cell that only workers need."""


def snapshot(spec: dict[str, Any], entries: Iterable[CellState]) -> dict[str, Any]:
    """The content of ``sweep.json``; see :mod:`semiseg.sweeping`."""
    cells = [
        {
            **entry.cell.model_dump(mode="json", exclude=HIDDEN),
            "run": entry.cell.place,
            "scores": entry.cell.scores,
            **entry.model_dump(mode="json", exclude={"cell"}),
        }
        for entry in entries
    ]
    about = {key: spec.get(key) for key in ("name", "score", "convention")}
    return {"version": 1, **about, "updated": provenance.now(), "spec": spec, "cells": cells}


def write_snapshot(folder: Path, spec: dict[str, Any], entries: Iterable[CellState]) -> dict[str, Any]:
    """Replace ``sweep.json`` and return its content."""
    content = snapshot(spec, entries)
    write_json(folder / "sweep.json", content)
    return content
