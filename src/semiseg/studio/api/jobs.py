"""Trainings, predictions and rankings: start, look, stop, go on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from semiseg.errors import UsageError
from semiseg.machine.files import json_object
from semiseg.studio import progress
from semiseg.studio.api.common import Json, TheDesk, missing
from semiseg.studio.desk import Desk
from semiseg.studio.index import UNLABELED, Row
from semiseg.studio.queue import ACTIVE, Job

router = APIRouter(prefix="/api")


class Training(BaseModel):
    """A training to start."""

    kind: Literal["train"]
    method: str | None = None
    max_time: str | float | None = None
    iterations: Annotated[int | None, Field(ge=1)] = None
    device: str = "auto"
    start_from: str | None = None
    accepted: Annotated[float, Field(ge=0, le=1)] = 1.0
    calibrate: bool = False
    then_predict: bool = True
    settings: dict[str, Any] = {}


class Predicting(BaseModel):
    """A prediction to start."""

    kind: Literal["predict"]
    run: str
    cases: list[str] | None = None
    uncertainty: bool = True
    device: str = "auto"


class Ranking(BaseModel):
    """A ranking to make."""

    strategy: str = "default"
    n: int = Field(5, ge=1, le=1000)
    slices: bool = False
    run: str | None = None
    device: str = "auto"


@router.get("/jobs")
def jobs(desk: TheDesk) -> Json:
    """All jobs, newest first."""
    found = [progress.told(job, desk.places) for job in desk.queue.list()]
    return {"jobs": found, "active": sum(job["state"] in ACTIVE for job in found)}


@router.post("/jobs", status_code=201)
def start(desk: TheDesk, body: Annotated[Training | Predicting, Field(discriminator="kind")]) -> Json:
    """Queue a training or a prediction."""
    if isinstance(body, Training):
        return _told(desk, desk.orders.train(**body.model_dump(exclude={"kind"})))
    return _told(desk, desk.orders.predict(**body.model_dump(exclude={"kind"}), then=["rank"]))


@router.get("/jobs/{job}")
def job(desk: TheDesk, job: str) -> Json:
    """One job."""
    return progress.told(desk.queue.get(job), desk.places)


@router.get("/jobs/{job}/log")
def log(desk: TheDesk, job: str, after: int = 0) -> Json:
    """What it has printed since."""
    return progress.log_text(desk.queue.folder(job), after)


@router.get("/jobs/{job}/curve")
def curve(desk: TheDesk, job: str, after: int = 0) -> Json:
    """Loss and validation Dice since."""
    run = desk.queue.get(job).get("run")
    if run not in desk.places.run_names():
        return {"train": [], "validation": [], "next": 0}
    return progress.curve(desk.places.run(run), after)


@router.post("/jobs/{job}/stop")
def stop(desk: TheDesk, job: str) -> Json:
    """Ask a job to save and end."""
    return progress.told(desk.queue.stop(job), desk.places)


@router.post("/jobs/{job}/resume")
def resume(desk: TheDesk, job: str) -> Json:
    """Go on."""
    return progress.told(desk.queue.resume(job), desk.places)


@router.delete("/jobs/{job}")
def remove(desk: TheDesk, job: str) -> Json:
    """Forget a job that has ended."""
    desk.queue.remove(job)
    return {}


@router.get("/recommend")
def recommended(desk: TheDesk) -> Json:
    """What the form of a training has filled in."""
    return desk.advice.told(desk.orders.newest())


@router.get("/strategies")
def strategies(desk: TheDesk) -> list[Row]:
    """The ways to rank; ``default`` is the usual one for what there is now."""
    from semiseg.labeling.strategies import COLD, DEFAULT, describe

    usual = COLD if desk.orders.newest() is None else DEFAULT
    return [{**one, "default": one["name"] == usual} for one in describe()]


@router.get("/ranking")
def ranking(desk: TheDesk) -> Json:
    """The newest ranking."""
    found = json_object(desk.places.ranking)
    waiting = next((j["id"] for j in desk.queue.list() if j["kind"] == "rank" and j["state"] in ACTIVE), None)
    rows = desk.index.rows()
    cases = [one for one in found.get("cases") or [] if rows.get(one["id"], {}).get("state") in UNLABELED]
    stale = len(cases) < len(found.get("cases") or [])
    told = {key: found.get(key) for key in ("strategy", "time", "run")}
    return {**told, "stale": stale, "cases": cases, "job": waiting}


@router.post("/ranking", status_code=201)
def rank(desk: TheDesk, body: Ranking) -> Json:
    """Queue a ranking."""
    return _told(desk, desk.orders.rank(**body.model_dump()))


@router.get("/runs/{run}/progress.png")
def picture(desk: TheDesk, run: str) -> Response:
    """The run's own picture of its curves."""
    path = desk.places.run(run) / "progress.png"
    if not path.is_file():
        raise missing(f"picture of run {run}")
    return Response(path.read_bytes(), media_type="image/png")


def _told(desk: Desk, job: Job) -> Json:
    if not job:
        raise UsageError("nothing was started", hint="choose a run or a method, and start again")
    return {"job": progress.told(job, desk.places)}
