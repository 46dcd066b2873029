"""Enter cells into the ledger: what is finished stays so, and each run folder serves one training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from semiseg.atomic import read_json
from semiseg.claim import contents
from semiseg.errors import SemisegError
from semiseg.resolve import validate
from semiseg.run import differences, load_run
from semiseg.sweeping.cells import Cell
from semiseg.sweeping.ledger import Entry, Ledger


def enroll(ledger: Ledger, cells: Iterable[Cell]) -> list[Entry]:
    """The entries of these cells, new ones written as waiting.

    An entry that says ``done`` of scores that are gone, or that another specification has since overwritten,
    waits again.
    """
    with ledger.planning():
        known = ledger.everything()
        entries = _with_cells(ledger.folder, known, cells)
        for entry in entries:
            if entry != known.get(entry.cell.id):
                _write(ledger, entry)
        return entries


def foreseen(ledger: Ledger, cells: Iterable[Cell]) -> list[Entry]:
    """The entries that these cells would get; nothing is written."""
    return _with_cells(ledger.folder, ledger.everything(), cells)


def _with_cells(folder: Path, known: Mapping[str, Entry], cells: Iterable[Cell]) -> list[Entry]:
    places: dict[str, set[str]] = {}
    for entry in known.values():
        places.setdefault(entry.cell.place, set()).add(entry.cell.training)
    return [_entry(folder, known.get(cell.id), cell, places) for cell in cells]


def _entry(folder: Path, before: Entry | None, cell: Cell, places: dict[str, set[str]]) -> Entry:
    place = before.cell.place if before else _free_place(folder, cell, places)
    places.setdefault(place, set()).add(cell.training)
    cell = cell.model_copy(update={"place": place})
    entry = before.model_copy(update={"cell": cell}) if before else Entry(cell=cell)
    return entry.again() if entry.state == "done" and not is_scored(folder, cell) else entry


def _write(ledger: Ledger, entry: Entry) -> None:
    with ledger.claim(entry.cell) as claim:
        if claim.mine:  # else somebody is at work on it and will write the entry
            ledger.write(entry)


def is_scored(folder: Path, cell: Cell) -> bool:
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


def _free_place(folder: Path, cell: Cell, places: dict[str, set[str]]) -> str:
    """The usual place, or one of its own where the usual one holds another training."""
    others = places.get(cell.place, set()) - {cell.training}
    if not others and _suits(folder / cell.place, cell):
        return cell.place
    return f"{cell.place}_{cell.training}"


def _suits(path: Path, cell: Cell) -> bool:
    """Whether the cell can begin in a folder, or go on with the run that is there."""
    if not contents(path):
        return True
    try:
        run = load_run(path)
        same = run.manifest.get("split_sha256") == cell.split
        return same and not differences(run.config, validate(cell.config))
    except SemisegError:
        return False
