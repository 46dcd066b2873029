"""MONAI Label's REST interface, the part of it that 3D Slicer's module and the Python client use.

Ids of images are case ids. A label that is saved takes the place of the one before, which is kept; the
interface has no versions. One model, ``segmentation``, is the newest run of this dataset.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, PlainTextResponse

from semiseg import images
from semiseg.dataset.case import LabeledCase
from semiseg.errors import DataError
from semiseg.labeling.store import Origin
from semiseg.labeling.strategies import describe
from semiseg.studio import progress
from semiseg.studio.api.cases import counts
from semiseg.studio.api.common import Json, TheDesk, User, receive
from semiseg.studio.api.labels import chunks, most_bytes, read_upload
from semiseg.studio.guard import MAX_BODY
from semiseg.studio.index import structures
from semiseg.studio.queue import ACTIVE
from semiseg.studio.sessions import Session
from semiseg.studio.slicer import MODEL, epochs, next_image, predicted, task, train_words, trainings

router = APIRouter()

Params = Annotated[dict[str, Any] | None, Body()]
FINAL, ORIGINAL = "final", "original"


@router.get("/info")
@router.get("/info/")
def info(desk: TheDesk) -> Json:
    """What the server can do, and how far a training is."""
    from semiseg.__about__ import __version__

    labels = {name: values[0] for name, values in structures(desk.labels).items()}
    model = {
        "type": "segmentation",
        "labels": labels,
        "dimension": 3,
        "description": "the newest run",
        "config": {},
    }
    settings = {"name": MODEL, "device": ["auto"], "max_time": "20m", "iterations": 0}
    strategies = {one["name"]: {"description": one["description"]} for one in describe()}
    return {
        "name": f"semiseg studio: {desk.labels.dataset.name}",
        "description": "labels stay in this dataset's folder",
        "version": __version__,
        "labels": list(labels),
        "models": {MODEL: model} if desk.orders.newest() else {},
        "trainers": {MODEL: {"description": "trains on all labels", "config": settings}},
        "strategies": strategies,
        "scoring": {},
        "train_stats": {MODEL: epochs(desk)},
        "datastore": _stats(desk),
        "config": {},
    }


@router.get("/auth/")
def auth() -> Json:
    """There are no accounts; a token is given as a bearer token where one is needed."""
    return {"enabled": False, "client_id": "", "realm": ""}


@router.post("/activelearning/{strategy}")
def next_sample(desk: TheDesk, strategy: str, params: Params = None) -> Json:
    """The next image to label, or nothing where all have a label."""
    return next_image(desk, strategy)


@router.get("/datastore")
@router.get("/datastore/")
def datastore(desk: TheDesk, output: str = "stats") -> Any:
    """Counts, the labeled images, or all of it."""
    if output == "train":
        found = [c for c in desk.labels.cases.values() if isinstance(c, LabeledCase)]
        return [{"image": str(case.images[0]), "label": str(case.label)} for case in found]
    if output == "all":
        return _all(desk)
    return _stats(desk)


@router.put("/datastore/image")
@router.put("/datastore/")
async def add_image(
    desk: TheDesk, file: Annotated[UploadFile, File()], image: str = "", params: Annotated[str, Form()] = "{}"
) -> Json:
    """Add a scan to the dataset, among those without a label."""
    from semiseg.studio.slicer import take_scan

    ending = images.ending_of(Path(file.filename or ""))
    if ending is None:
        raise DataError(
            f"{file.filename!r} is not a known image format",
            hint="send NIfTI, NRRD or MetaImage",
            code="UNKNOWN_FORMAT",
        )
    with desk.upload(ending) as path:
        await receive(chunks(file), path, MAX_BODY)
        return {"image": await run_in_threadpool(take_scan, desk, image, path)}


@router.get("/datastore/image")
def image(desk: TheDesk, image: str) -> Response:
    """A scan as its file is."""
    path = desk.index.find(image).images[0]
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.get("/datastore/image/info")
def image_info(desk: TheDesk, user: User, image: str) -> Json:
    """What the list says of a scan."""
    return desk.row(image, user)


@router.put("/datastore/label")
async def save_label(
    desk: TheDesk, user: User, image: str, label: Annotated[UploadFile, File()], tag: str = "",
    params: Annotated[str, Form()] = "{}",
) -> Json:  # fmt: skip
    """Save a label; every tag but ``final`` is kept as the same label."""
    case = await run_in_threadpool(desk.labels.case, image)
    by = _client(params) or user
    ending = images.ending_of(Path(label.filename or "")) or ".nii.gz"
    with desk.upload(ending) as path:
        await receive(chunks(label), path, await run_in_threadpool(most_bytes, case))

        def save() -> None:
            volume = read_upload(image, case, path)
            desk.labels.save(image, volume, base=desk.labels.version(image), origin=Origin("slicer", by))

        await run_in_threadpool(save)
    return {"image": image, "label": image}


@router.get("/datastore/label")
def download_label(desk: TheDesk, label: str, tag: str = "") -> Response:
    """A label as its file is; ``original`` is the newest prediction."""
    case = desk.labels.case(label)
    if tag == ORIGINAL:
        path = predicted(desk, label, make=False)
    else:
        path = case.label if isinstance(case, LabeledCase) else None
    if path is None:
        raise HTTPException(404, f"there is no label of {label}")
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


@router.post("/infer/{model}")
async def infer(
    desk: TheDesk,
    model: str,
    image: str = "",
    session_id: str = "",
    output: str = "all",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Predict a scan of the dataset, of a session, or an uploaded one, with the newest run."""
    wanted = _object(params)
    if model != MODEL:
        raise HTTPException(404, f"no model {model}; there is {MODEL}")
    if file is not None:
        image = ""
        kept = desk.sessions.new([file.filename or "scan.nii.gz"])
        await receive(chunks(file), kept.files[0], MAX_BODY)
        session_id = kept.id
    return await run_in_threadpool(_answer, desk, image, session_id, output, wanted)


@router.post("/train")
@router.post("/train/")
@router.post("/train/{model}")
def train(desk: TheDesk, model: str = MODEL, params: Params = None) -> Json:
    """Train on all labels; one at a time."""
    if any(job["state"] in ACTIVE for job in trainings(desk)):
        raise HTTPException(429, "a training is running")
    return task(desk, desk.orders.train(**train_words(params or {})))


@router.get("/train")
@router.get("/train/")
def train_status(
    desk: TheDesk, everything: Annotated[bool, Query(alias="all")] = False, check_if_running: bool = False
) -> Any:
    """The newest training, or all of them."""
    found = trainings(desk)
    if check_if_running and not any(job["state"] in ACTIVE for job in found):
        raise HTTPException(404, "no training is running")
    if everything:
        return [task(desk, job) for job in found]
    if not found:
        raise HTTPException(404, "no training was started")
    return task(desk, found[0])


@router.delete("/train")
@router.delete("/train/")
def train_stop(desk: TheDesk) -> Json:
    """Stop the training that runs."""
    found = [job for job in trainings(desk) if job["state"] in ACTIVE]
    if not found:
        raise HTTPException(404, "no training is running")
    return task(desk, desk.queue.stop(found[-1]["id"]))


@router.put("/session")
@router.put("/session/")
async def new_session(desk: TheDesk, files: Annotated[list[UploadFile], File()], expiry: int = 0) -> Json:
    """Keep a scan for a while that is no part of the dataset."""
    kept = desk.sessions.new([file.filename or "scan.nii.gz" for file in files], expiry)
    for file, path in zip(files, kept.files, strict=True):
        await receive(chunks(file), path, MAX_BODY)
    return {"session_id": kept.id, "session_info": kept.told()}


@router.get("/session/{session_id}")
def session(desk: TheDesk, session_id: str, update_ts: bool = False, image: bool = False) -> Any:
    """A session, or its scan."""
    found = _session(desk, session_id)
    if image:
        return FileResponse(found.files[0], filename=found.files[0].name)
    return found.told()


@router.delete("/session/{session_id}")
def end_session(desk: TheDesk, session_id: str) -> Json:
    """Forget a session."""
    found = _session(desk, session_id)
    told = found.told()
    desk.sessions.end(session_id)
    return told


@router.get("/logs")
@router.get("/logs/")
def logs(desk: TheDesk, request: Request, lines: int = 300) -> PlainTextResponse:
    """The end of the newest training's log."""
    found = trainings(desk)
    text = progress.log_text(desk.queue.folder(found[0]["id"]))["text"] if found else ""
    return PlainTextResponse("\n".join(text.splitlines()[-lines:]))


def _session(desk: TheDesk, name: str) -> Session:
    found = desk.sessions.find(name)
    if found is None:
        raise HTTPException(404, "no such session")
    return found


def _answer(desk: TheDesk, image: str, session_id: str, output: str, wanted: Json) -> Response:
    from semiseg.studio.slicer import inferred

    path, params = inferred(desk, image, _session(desk, session_id) if session_id else None, wanted)
    try:
        if output == "json":
            return Response(json.dumps(params), media_type="application/json")
        content = path.read_bytes()
    finally:
        path.unlink(missing_ok=True)
    if output == "image":
        headers = {"Content-Disposition": f'attachment; filename="{path.name}"'}
        return Response(content, media_type="application/octet-stream", headers=headers)
    return _multipart(params, path.name, content)


def _multipart(params: Json, name: str, content: bytes) -> Response:
    """A form with the part ``params`` (JSON) and the part ``image`` (the file)."""
    mark = "semiseg-4c0f8d1b7f5e"
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
        f'{json.dumps(params)}\r\n--{mark}\r\nContent-Disposition: form-data; name="image"; '
        f'filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    )
    body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
    return Response(body, media_type=f"multipart/form-data; boundary={mark}")


def _stats(desk: TheDesk) -> Json:
    found = counts(desk)
    done = found["labeled"] + found["accepted"]
    total = sum(found.values()) - found["test"] - found["bad"]
    return {"total": total, "completed": done, "label_tags": {FINAL: done}, "train": []}


def _all(desk: TheDesk) -> Json:
    objects = {}
    for case in desk.labels.cases.values():
        told: Json = {
            "image": {"ext": images.ending_of(case.images[0]), "info": {"name": case.images[0].name}}
        }
        labels = {}
        if isinstance(case, LabeledCase):
            labels[FINAL] = {"ext": images.ending_of(case.label), "info": {"name": case.label.name}}
        objects[case.id] = told | {"labels": labels}
    return {"name": desk.labels.dataset.name, "description": "", "images_dir": "imagesTr", "objects": objects}


def _object(text: str) -> Json:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _client(params: str) -> str:
    return str(_object(params).get("client_id") or "")[:120]
