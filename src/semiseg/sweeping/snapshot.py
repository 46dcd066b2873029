"""``sweep.json``: the whole sweep in one file, for whoever reads it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semiseg import manifest
from semiseg.atomic import write_json
from semiseg.sweeping.ledger import Entry

HIDDEN = {"training", "split", "root", "config", "scoring", "place"}
"""Fields of a cell that only workers need."""


def snapshot(spec: dict[str, Any], entries: Iterable[Entry]) -> dict[str, Any]:
    """The content of ``sweep.json``; see :mod:`semiseg.sweeping`."""
    cells = []
    for entry in entries:
        cell = entry.cell
        cells.append(
            {
                **cell.model_dump(mode="json", exclude=HIDDEN),
                "run": cell.place,
                "scores": cell.scores,
                **entry.model_dump(mode="json", exclude={"cell"}),
            }
        )
    about = {key: spec.get(key) for key in ("name", "score", "convention")}
    return {"version": 1, **about, "updated": manifest.now(), "spec": spec, "cells": cells}


def write_snapshot(folder: Path, spec: dict[str, Any], entries: Iterable[Entry]) -> dict[str, Any]:
    """Replace ``sweep.json`` and return its content."""
    content = snapshot(spec, entries)
    write_json(folder / "sweep.json", content)
    return content
