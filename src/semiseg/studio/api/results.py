"""Runs, what the rounds have brought, the report of a comparison, exports, and facts about this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from semiseg.dataset.case import LabeledCase
from semiseg.errors import DataError, UsageError
from semiseg.labeling.reviews import lines, reviewed
from semiseg.runs.run import Run
from semiseg.settings.changes import flat
from semiseg.studio import learning
from semiseg.studio.api.common import Json, TheDesk
from semiseg.studio.archive import stream
from semiseg.studio.desk import Desk
from semiseg.studio.guard import REPORT_CSP

router = APIRouter(prefix="/api")


@router.get("/runs")
def runs(desk: TheDesk) -> Json:
    """All runs, newest first."""
    return {"runs": learning.runs_told(desk.places)}


@router.get("/runs/{run}")
def run(desk: TheDesk, run: str) -> Json:
    """One run with its manifest."""
    found = Run(desk.places.run(run))
    return {**learning.run_told(desk.places, run), "manifest": found.manifest, "split": found.split}


@router.get("/results")
def results(desk: TheDesk) -> Json:
    """The learning curve."""
    return learning.results_told(desk.places, desk.labels.ledger.path)


@router.get("/results/reviews")
def reviews(desk: TheDesk) -> Json:
    """What reviewing has shown, a line each: corrections, time, how people agree, preferences."""
    try:
        return {"lines": [] if desk.blind else list(lines(reviewed(desk.labels)))}
    except DataError:
        return {"lines": []}


@router.get("/results/report")
def report(desk: TheDesk) -> HTMLResponse:
    """The page that ``semiseg compare`` makes of the runs."""
    from semiseg.comparison.compare import compare
    from semiseg.comparison.report.write import write

    folders = [
        desk.places.runs / told["id"] for told in learning.runs_told(desk.places) if told["dice"] is not None
    ]
    if not folders:
        raise DataError("no run has scores of held-out cases", hint="list some under 'val' in splits.json")
    with tempfile.TemporaryDirectory(dir=desk.places.studio) as place:
        written = write(compare(*folders), Path(place) / "report")
        text = written[-1].read_text(encoding="utf-8")
    return HTMLResponse(text, headers={"Content-Security-Policy": REPORT_CSP})


@router.get("/export.zip")
def export(desk: TheDesk, what: str = "labels", run: str | None = None) -> Response:
    """All labels, or all predictions of a run with their records, as a ZIP."""
    files = _exported(desk, what, run)
    if not files:
        raise DataError(f"there are no {what} to export", hint="draw or predict first", code="NO_FILE")
    headers = {"Content-Disposition": f'attachment; filename="{what}.zip"'}
    return StreamingResponse(stream(files.items()), media_type="application/zip", headers=headers)


@router.get("/devices")
def devices() -> Json:
    """What can train here."""
    from semiseg.machine.hardware import device_names

    return {"devices": device_names()}


@router.get("/doctor")
def doctor(desk: TheDesk) -> Json:
    """Versions, devices, memory and disk."""
    from semiseg.machine.doctor import examine

    found = examine()
    facts = {key: value for key, value in found.items() if key not in ("problems", "packages", "extras")}
    told = {name: text for name, value in flat(facts).items() if (text := _in_words(name, value))}
    rows = [{"name": _name(name), "value": text, "status": "ok"} for name, text in told.items()]
    rows += [{"name": "problem", "value": text, "status": "error"} for text in found["problems"]]
    return {"rows": rows, "text": "\n".join(f"{row['name']}: {row['value']}" for row in rows)}


def _name(key: str) -> str:
    """``memory_gb.free`` -> ``memory free``."""
    return key.replace("_gb", "").replace(".", " ").replace("_", " ")


def _in_words(name: str, value: object) -> str:
    """A fact as people write it; nothing where it says nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value}{' GB' * ('_gb' in name)}"


def _exported(desk: Desk, what: str, run: str | None) -> dict[str, Path]:
    if what == "labels":
        found = [case for case in desk.labels.cases.values() if isinstance(case, LabeledCase)]
        listed = {f"labels/{case.label.name}": case.label for case in found}
        ledger = desk.labels.ledger.path
        return listed | ({"labels.jsonl": ledger} if ledger.is_file() and listed else {})
    if what == "predictions":
        name = desk.run_named(run)
        folder = desk.places.predictions_of(name)
        return {f"{name}/{path.name}": path for path in sorted(folder.iterdir()) if path.name[0] != "."}
    raise UsageError(f"what={what}", hint="labels or predictions", code="BAD_EXPORT")
