"""From what a user names (run folders, their parents, sweeps) to runs with scores and missing cells."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.atomic import read_json
from semiseg.comparison.arm import RunScores
from semiseg.comparison.read import Told, Unscored, read_run
from semiseg.comparison.result import MissingCell
from semiseg.errors import UsageError
from semiseg.run import Run

LEDGER = "sweep.json"


@dataclass(frozen=True)
class Collected:
    """What was found."""

    runs: tuple[RunScores, ...]
    missing: tuple[MissingCell, ...]


def collect(paths: Iterable[Path]) -> Collected:
    """Read every run in or below the paths; a run that is named twice counts once.

    Raises:
        UsageError: a path that does not exist or holds no run, or damaged files.
    """
    found: dict[Path, RunScores | MissingCell] = {}
    waiting: list[MissingCell] = []
    for path in paths:
        for folder, item in _entries(path):
            if folder is None:
                waiting += [item] if isinstance(item, MissingCell) else []
            else:
                found.setdefault(folder.resolve(), item)
    runs = [item for item in found.values() if isinstance(item, RunScores)]
    missing = [item for item in found.values() if isinstance(item, MissingCell)]
    return Collected(tuple(runs), (*missing, *waiting))


def _entries(path: Path) -> Iterator[tuple[Path | None, RunScores | MissingCell]]:
    """(run folder if there is one, run or missing cell) of everything in or below a path."""
    if not path.exists():
        raise UsageError(f"{path} does not exist", hint="give run folders, their parent, or a sweep")
    places = [path.parent] if path.name == LEDGER else list(_places(path))
    if not places:
        raise UsageError(
            f"no run in {path}: no folder below it has a config.yaml and a manifest.json",
            hint="give the folder that `semiseg train` printed, or one above it",
            code="NO_RUNS",
        )
    for place in places:
        if (place / LEDGER).is_file():
            yield from _of_sweep(place)
        else:
            yield place, _of_run(place)


def _places(path: Path) -> Iterator[Path]:
    """Sweeps and run folders in or below a folder; nothing inside either is looked at again."""
    for root, folders, files in os.walk(path):
        if LEDGER in files or {"config.yaml", "manifest.json"} <= set(files):
            folders.clear()
            yield Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _of_run(folder: Path, told: Told | None = None) -> RunScores | MissingCell:
    item = read_run(folder, told)
    if not isinstance(item, Unscored):
        return item
    config, manifest = Run(folder).config, Run(folder).manifest
    return MissingCell(
        dataset=str(manifest.get("dataset", "")),
        name=(told.variant if told else "") or config.method.name,
        labeled=manifest.get("labeled"),
        fold=config.data.fold,
        seed=config.train.seed,
        reason=item.reason,
        command=item.command,
        folder=folder,
    )


def _of_sweep(sweep: Path) -> Iterator[tuple[Path | None, RunScores | MissingCell]]:
    for cell in _cells(sweep / LEDGER):
        folder = sweep / cell["run"] if cell.get("run") else None
        if cell["state"] != "done" or folder is None or not folder.is_dir():
            yield None, _missing_cell(sweep, cell)
            continue
        told = Told(
            variant=cell["variant"],
            bound=cell.get("bound"),
            scores=sweep / cell["scores"] if cell.get("scores") else None,
        )
        yield folder, _of_run(folder, told)


def _missing_cell(sweep: Path, cell: Mapping[str, Any]) -> MissingCell:
    error = cell.get("error") or {}
    why = f": {error['message']}" if error.get("message") else ""
    state = cell["state"] if cell["state"] != "done" else "done, but its run folder is gone"
    return MissingCell(
        dataset=cell["dataset"],
        name=cell["variant"],
        labeled=cell["labeled"],
        fold=cell["fold"],
        seed=cell["seed"],
        reason=f"{state}{why}",
        command=f"semiseg sweep {sweep / 'spec.yaml'}",
        folder=sweep / cell["run"] if cell.get("run") else None,
    )


def _cells(ledger: Path) -> list[dict[str, Any]]:
    try:
        cells = list(read_json(ledger)["cells"])
        for cell in cells:
            for key in ("dataset", "variant", "labeled", "fold", "seed", "state"):
                cell[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"cannot read the sweep {ledger}: {error}",
            hint="`semiseg sweep SPEC.yaml` writes it anew",
            code="BAD_SWEEP",
        ) from None
    return cells
