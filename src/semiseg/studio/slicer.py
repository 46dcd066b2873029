"""What MONAI Label's interface asks for, in the studio's own terms."""

from __future__ import annotations

import random
import re
import secrets
import time
from pathlib import Path
from typing import Any

import numpy as np

from semiseg import images
from semiseg.errors import DataError, UsageError, unknown_name
from semiseg.labeling.strategies import STRATEGIES
from semiseg.machine.files import json_object
from semiseg.studio import progress
from semiseg.studio.desk import Desk
from semiseg.studio.index import UNLABELED, structures
from semiseg.studio.queue import ACTIVE, Job
from semiseg.studio.scans import prediction_path
from semiseg.studio.sessions import Session

MODEL = "segmentation"
STATES = {
    "queued": "SUBMITTED",
    "running": "RUNNING",
    "done": "DONE",
    "failed": "ERROR",
    "stopped": "STOPPED",
}
WAIT = 900.0
"""Seconds for a prediction that somebody waits for."""
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")


def next_image(desk: Desk, strategy: str) -> dict[str, Any]:
    """The next scan without a label: of the newest ranking, else the least certain, else any."""
    if strategy not in ("default", "first", *STRATEGIES):
        raise unknown_name("strategy", strategy, ["default", "first", *STRATEGIES])
    rows = {name: row for name, row in desk.index.rows().items() if row["state"] in UNLABELED}
    if not rows:
        return {}
    ranking = json_object(desk.places.ranking)
    ranked = [one for one in ranking.get("cases") or [] if one["id"] in rows]
    unsure = [row["id"] for row in rows.values() if row["uncertainty"] is not None]
    weight = 0.0
    if strategy == "first":
        name = next(iter(rows))
    elif strategy != "random" and ranked:
        name, weight = ranked[0]["id"], float(ranked[0]["score"])
    elif strategy != "random" and unsure:
        name = max(unsure, key=lambda one: float(rows[one]["uncertainty"]))
        weight = float(rows[name]["uncertainty"])
    else:
        name = random.choice(sorted(rows))
    path = desk.labels.case(name).images[0]
    state = path.stat()
    return {
        "id": name,
        "weight": weight,
        "path": str(path),
        "name": path.name,
        "ts": int(state.st_mtime),
        "checksum": f"SIZE:{state.st_size}",
        "reason": rows[name]["reason"],
    }


def take_scan(desk: Desk, name: str, path: Path) -> str:
    """Add an uploaded scan to ``imagesUn`` and return its id.

    Raises:
        UsageError: an id that is taken or no file name.
        DataError: no readable image, or a dataset with several channels.
    """
    dataset = desk.labels.dataset
    if len(dataset.channel_names) != 1:
        raise DataError(
            f"one file was sent, a scan of this dataset has {len(dataset.channel_names)} channels",
            hint="put the files of all channels into imagesUn",
            code="CHANNELS",
        )
    name = name or f"scan_{secrets.token_hex(4)}"
    if not _ID.fullmatch(name):
        raise UsageError(f"{name!r} is not a valid id", hint="letters, digits, dots, dashes", code="BAD_ID")
    if name in desk.labels.cases or name in desk.labels.test:
        raise UsageError(f"there is a scan {name} already", hint="give it another id", code="EXISTS")
    volume = images.read(path)
    target = desk.root / "imagesUn" / f"{name}_0000{dataset.file_ending}"
    images.write(target, volume.array, volume.grid, volume.meta)
    desk.labels.reload()
    desk.index.changed()
    return name


def predicted(desk: Desk, name: str, *, make: bool) -> Path | None:
    """The newest run's label map of a case, made now where it is missing.

    Raises:
        UsageError: there is no run.
        DataError: the prediction failed.
    """
    run = _newest(desk)
    path = prediction_path(desk, name, run) if run in desk.places.predicted_runs() else None
    if path is None and make:
        wait_for(desk, desk.orders.predict(run, cases=[name]))
        path = prediction_path(desk, name, run)
    return path


def inferred(
    desk: Desk, name: str, session: Session | None, wanted: dict[str, Any]
) -> tuple[Path, dict[str, Any]]:
    """A file with the label map of a scan, in the format that is wanted, and the parameters of the answer.

    Raises:
        UsageError: no such scan, no run, or a format that is not written here.
        DataError: the prediction failed.
    """
    began = time.monotonic()
    if session is not None:
        source = _of_session(desk, session)
    else:
        found = predicted(desk, desk.labels.case(name).id, make=True)
        if found is None:
            raise _not_predicted(name)
        source = found
    ending = str(wanted.get("result_extension") or ".nii.gz").lower()
    if images.ending_of(Path(f"x{ending}")) != ending:
        raise UsageError(
            f"{ending} is not a format that is written here", hint=".nii.gz or .nrrd", code="UNKNOWN_FORMAT"
        )
    try:
        kind = np.dtype(wanted.get("result_dtype") or "uint8")
    except TypeError as error:
        raise UsageError(str(error), hint="such as uint8 or uint16", code="UNKNOWN_FORMAT") from None
    volume = images.read_label(source)
    array = volume.array.astype(kind)
    target = desk.places.studio / "incoming" / f"{secrets.token_hex(8)}{ending}"
    images.write(target, array, volume.grid)
    seconds = round(time.monotonic() - began, 3)
    names = {key: values[0] for key, values in structures(desk.labels).items()}
    kinds = ("pre", "infer", "invert", "post", "write")
    latencies = {**dict.fromkeys(kinds, 0.0), "infer": seconds, "total": seconds, "transform": {}}
    return target, {"label_names": names, "latencies": latencies, "centroids": []}


def _newest(desk: Desk) -> str:
    run = desk.orders.newest()
    if run is None:
        raise UsageError("nothing was trained yet", hint="train first", code="NO_MODEL")
    return run


def _not_predicted(what: str) -> DataError:
    return DataError(f"{what} could not be predicted", hint="look at the page Training", code="NO_PREDICTION")


def trainings(desk: Desk) -> list[Job]:
    """All trainings, newest first."""
    return [job for job in desk.queue.list() if job["kind"] == "train"]


def wait_for(desk: Desk, job: Job) -> None:
    """Wait until a job has ended (DataError: it failed, or takes longer than :data:`WAIT`)."""
    until = time.monotonic() + WAIT
    while (found := desk.queue.get(job["id"]))["state"] in ACTIVE:
        if time.monotonic() > until:
            raise DataError(f"{job['id']} takes too long", hint="look at the page Training", code="TIMEOUT")
        time.sleep(0.2)
    if found["state"] != "done":
        error = found.get("error") or {}
        raise DataError(
            str(error.get("message") or f"{job['id']} was stopped"),
            hint=str(error.get("hint") or "look at the page Training"),
            code=str(error.get("code") or ""),
        )


def train_words(params: dict[str, Any]) -> dict[str, Any]:
    """What a client may say of a training, as the orders take it."""
    own = params.get(MODEL) if isinstance(params.get(MODEL), dict) else params
    said = own or {}
    return {
        "method": said.get("method"),
        "max_time": said.get("max_time"),
        "iterations": int(said.get("iterations") or 0) or None,
        "device": _first(said.get("device")),
        "settings": said.get("settings") or {},
        "then_predict": bool(said.get("then_predict", True)),
    }


def task(desk: Desk, job: Job) -> dict[str, Any]:
    """A job as MONAI Label has it."""
    log = progress.log_text(desk.queue.folder(job["id"]))["text"].splitlines()
    return {
        "id": job["id"],
        "status": STATES[job["state"]],
        "request": {"model": MODEL, "title": job["title"]},
        "start_ts": _time(job.get("started") or job["created"]),
        "end_ts": _time(job.get("ended")),
        "details": log[-20:],
    }


def epochs(desk: Desk) -> dict[str, Any]:
    """How far the newest training is; its iterations count as epochs."""
    found = next(iter(trainings(desk)), None)
    if found is None:
        return {}
    told = progress.told(found, desk.places)
    scores = [one["dice"] for one in progress.curve(desk.places.runs / found["run"])["validation"]]
    running = found["state"] in ACTIVE
    return {
        "epoch": told["step"] or 0,
        "total_epochs": told["total"] or 1,
        "start_ts": _time(found.get("started")),
        "current_time" if running else "total_time": _time(found.get("ended")) or "",
        "best_metric": max((score for score in scores if score is not None), default=0.0),
        "train": {},
        "eval": {},
    }


def _of_session(desk: Desk, session: Session) -> Path:
    """The label map of a session's scan."""
    run = _newest(desk)
    out = session.folder / "out"
    source = session.files[0] if len(session.files) == 1 else session.folder
    wait_for(desk, desk.orders.predict_files(run, source, out))
    found = [path for path in sorted(out.iterdir()) if images.ending_of(path) and "entropy" not in path.name]
    if not found:
        raise _not_predicted("the scan")
    return found[0]


def _first(value: Any) -> str:
    found = value[0] if isinstance(value, list) and value else value
    return str(found) if found in ("auto", "cpu", "cuda", "mps") else "auto"


def _time(text: str | None) -> str | None:
    return text[:19].replace("T", " ") if text else None
