"""What is kept of our own runs: everything that `semiseg compare` reads, without weights and predictions.

So a table can be made again, and grow by runs that come later, when the run folders are long gone. One zip
per table, benchmarks/results/runs/NAME.zip, holds run folders with the files of :data:`FILES`. It names no
machine's folders, and its bytes depend on nothing but its content.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from semiseg.comparison.read import LEDGER
from semiseg.runs.run import Run, load_run


def _without_host(manifest: dict[str, Any]) -> dict[str, Any]:
    """A worker's command line names folders, and the platform its kernel; the table has what counts."""
    return {**manifest, "command": "", "platform": ""}


def _without_files(summary: dict[str, Any]) -> dict[str, Any]:
    """What each case scored is in the CSV beside it."""
    return {**summary, "metric_per_case": [{"case": entry["case"]} for entry in summary["metric_per_case"]]}


FILES: dict[str, Callable[[dict[str, Any]], dict[str, Any]] | None] = {
    "config.yaml": None,
    "plan.json": None,
    "splits.json": None,
    "manifest.json": _without_host,
    "metrics.csv": None,
    "test/summary.json": _without_files,
    "test/metrics.csv": None,
}
"""File of a run folder -> what is left of it; None: its bytes."""


def place(folder: Path) -> str:
    """A run's name in a zip, and in the tables: dataset, arm, run."""
    return "/".join(folder.resolve().parts[-3:])


def keep(path: Path, folders: Iterable[Path]) -> None:
    """Write run folders into a zip; a run that is there already is replaced, the others stay.

    Args:
        path: the zip; made where it does not exist.
        folders: finished runs that were scored on test cases.
    """
    entries = _entries(path)
    for folder in folders:
        run = load_run(folder)
        for name, shorten in FILES.items():
            content = (run.folder / name).read_bytes()
            if shorten is not None:
                content = json.dumps(shorten(json.loads(content)), separators=(",", ":")).encode()
            entries[f"{place(folder)}/{name}"] = content
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(entries):
            archive.writestr(zipfile.ZipInfo(name), entries[name], zipfile.ZIP_DEFLATED)
    path.write_bytes(packed.getvalue())


def unpack(path: Path, into: Path) -> None:
    """Make the run folders of a zip in a folder, as one sweep: it tells the names of variants."""
    entries = _entries(path)
    for name, content in entries.items():
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    runs = sorted({name.rsplit("/", 1)[0] for name in entries if name.endswith("/manifest.json")})
    cells = [_cell(load_run(into / run), run) for run in runs]
    (into / LEDGER).write_text(json.dumps({"cells": cells}), encoding="utf-8")


def _cell(run: Run, place: str) -> dict[str, Any]:
    """What a sweep says of a run; its arm's folder is called VARIANT__NETWORK__RECIPE."""
    dataset, arm, _ = place.split("/")
    config = run.config
    return {
        "dataset": dataset,
        "variant": arm.partition("__")[0],
        "labeled": config.data.labeled,
        "fold": config.data.fold,
        "seed": config.train.seed,
        "state": "done",
        "run": place,
        "scores": f"{place}/test",
    }


def _entries(path: Path) -> dict[str, bytes]:
    if not path.is_file():
        return {}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
