"""How far the training of a cell is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from semiseg.sweeping.cells import Cell


def share_done(folder: Path, cell: Cell) -> float:
    """The share of a cell's training that is done, by the last line of its run's ``events.jsonl``."""
    path = folder / cell.place / "events.jsonl"
    try:
        with path.open("rb") as stream:
            stream.seek(max(path.stat().st_size - 8192, 0))
            lines = stream.read().splitlines()
        return min(float(json.loads(lines[-1])["step"]) / cell.iterations, 1.0)
    except (OSError, ValueError, LookupError, TypeError):
        return 0.0


def shares_done(folder: Path, cells: Iterable[Cell]) -> dict[str, float]:
    """Cell id -> :func:`share_done`."""
    return {cell.id: share_done(folder, cell) for cell in cells}
