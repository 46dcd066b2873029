"""How far a job is, as its files tell it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from semiseg.studio.places import Places
from semiseg.studio.queue import ACTIVE, Job, result_of

_TAIL = 64 * 1024


def told(job: Job, places: Places) -> dict[str, Any]:
    """A job as the pages show it: with step, total, time left and the last line of its log."""
    folder = places.jobs / job["id"]
    shown = ("id", "kind", "state", "device", "title", "created", "started", "ended", "command")
    state = job["state"]
    return {
        **{key: job.get(key) for key in shown},
        "run": job.get("run"),
        "labels": job.get("labels"),
        "start_from": job.get("start_from"),
        **_progress(job, places),
        "message": _message(job, folder),
        "error": job.get("error"),
        "can_stop": state in ACTIVE,
        "can_resume": state in ("stopped", "failed") or _time_was_up(job, folder),
    }


def curve(run: Path, after: int = 0) -> dict[str, Any]:
    """Loss and validation Dice of a run, from event number ``after`` on."""
    train: list[dict[str, Any]] = []
    validation: list[dict[str, Any]] = []
    number = 0
    for number, event in enumerate(_events(_lines(run / "events.jsonl")), start=1):
        if number <= after:
            continue
        if event.get("event") == "stepped":
            loss = (event.get("values") or {}).get("loss")
            train.append({"step": event.get("step"), "loss": loss, "seconds_left": event.get("seconds_left")})
        elif event.get("event") == "validated":
            validation.append({"step": event.get("step"), "dice": (event.get("scores") or {}).get("dice")})
    return {"train": train, "validation": validation, "next": max(number, after)}


def log_text(folder: Path, after: int = 0, most: int = 256 * 1024) -> dict[str, Any]:
    """What a job has printed, from byte ``after`` on."""
    path = folder / "log.txt"
    if not path.is_file():
        return {"text": "", "next": 0}
    with path.open("rb") as stream:
        size = path.stat().st_size
        start = min(max(after, 0), size)
        stream.seek(start)
        found = stream.read(most)
    return {"text": found.decode("utf-8", errors="replace"), "next": start + len(found)}


def _lines(path: Path, last: int | None = None) -> list[str]:
    """The lines of a text, or of its ``last`` bytes; none where there is no file."""
    if not path.is_file():
        return []
    with path.open("rb") as stream:
        stream.seek(0 if last is None else max(0, path.stat().st_size - last))
        return stream.read().decode("utf-8", errors="replace").splitlines()


def _events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The events in lines of ``events.jsonl``; the first or the last line may be cut off."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _last_stepped(run: Path) -> dict[str, Any]:
    """The newest event of the loop, from the end of the file alone."""
    events = _events(reversed(_lines(run / "events.jsonl", _TAIL)))
    return next((one for one in events if one.get("event") in ("stepped", "begun", "started")), {})


def _progress(job: Job, places: Places) -> dict[str, Any]:
    found: dict[str, Any] = {"step": None, "total": None, "seconds_left": None, "part": None}
    if job["kind"] == "train" and job.get("run"):
        folder, part = _trained_now(places.runs / job["run"])
        event = _last_stepped(folder)
        left = event.get("seconds_left") if job["state"] == "running" else None
        found |= {"step": event.get("step"), "total": event.get("total"), "seconds_left": left, "part": part}
    elif job["kind"] == "predict":
        folder = places.predictions_of(job["run"])
        done = sum((folder / f"{name}.json").is_file() for name in job.get("cases", ()))
        found |= {"step": done, "total": job.get("total")}
    return found


def _trained_now(run: Path) -> tuple[Path, str | None]:
    """The folder whose events are the newest: of the run, or of a fold that calibrates it; and its name."""
    folds = sorted(run.glob("calibration/fold-*/events.jsonl"))
    if not folds:
        return run, None
    return folds[-1].parent, f"calibration, fold {len(folds)}"


def _message(job: Job, folder: Path) -> str:
    if job.get("error"):
        return str(job["error"].get("message") or "")
    lines = _lines(folder / "log.txt", 4096)
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _time_was_up(job: Job, folder: Path) -> bool:
    """A training that ended because its time was up can go on."""
    if job["kind"] != "train" or job["state"] != "done":
        return False
    return (result_of(folder) or {}).get("finished") is False
