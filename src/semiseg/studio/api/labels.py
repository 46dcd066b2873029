"""Saving a label, accepting a prediction, rejecting a scan; drafts and marks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import APIRouter, File, Query, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from semiseg import images
from semiseg.dataset.case import Case, case_header
from semiseg.dataset.problem import Problem
from semiseg.errors import DataError, SemisegError, UsageError
from semiseg.images.grid import Volume, times
from semiseg.labeling.accept import read_prediction
from semiseg.labeling.planes import masked
from semiseg.labeling.store import Origin, bad_label
from semiseg.studio import part
from semiseg.studio.api.common import Json, TheDesk, User, receive
from semiseg.studio.desk import Desk
from semiseg.studio.scans import dice_of, prediction_path
from semiseg.studio.served import as_volume, from_volume, is_picture

router = APIRouter(prefix="/api")

BYTES_PER_VOXEL = 8
"""Of the widest type that a label may come in."""
HEADER_BYTES = 2**20
DRAWN = ("drawn", "corrected")


Client = Annotated[str, Query(max_length=64)]
"""A tab of a browser."""


class Accepted(BaseModel):
    """Which prediction is accepted, and the version of the label that was seen."""

    run: str | None = None
    version: int = Field(0, ge=0)


class Several(BaseModel):
    """Predictions of several cases."""

    cases: list[str]
    run: str | None = None


class Reason(BaseModel):
    """Why a scan is no good."""

    reason: str = Field("", max_length=500)


class Drawing(BaseModel):
    """A tab draws on a case, or has stopped."""

    client: str = Field(max_length=64)
    on: bool = True


@router.put("/cases/{name}/label")
async def save(
    desk: TheDesk,
    request: Request,
    user: User,
    name: str,
    version: int,
    source: str = "drawn",
    run: str | None = None,
    box: str = "",
    planes: str = "",
    client: Client = "",
    seconds: Annotated[float | None, Query(ge=0, le=7 * 86400)] = None,
) -> Json:
    """Save what was drawn as the label: the body is a NIfTI file on the scan's grid, or on a box of it.

    Of a box, the label has elsewhere what ``version`` has. ``planes`` (``AXIS:INDEX,...`` of the file) are
    those that were labeled: all other voxels get the dataset's ``ignore``. ``client`` is the tab: a draft of
    another one is kept.
    """
    if source not in DRAWN:
        raise UsageError(f"source {source!r}", hint=f"one of {', '.join(DRAWN)}", code="BAD_SOURCE")
    case = await run_in_threadpool(desk.labels.case, name)
    with desk.upload() as path:
        await receive(request.stream(), path, await run_in_threadpool(most_bytes, case))
        origin = Origin(source, user, run=run, seconds=seconds)
        save = partial(_save, box=box, planes=planes, client=client)
        return await run_in_threadpool(save, desk, user, name, path, version, origin)


@router.post("/cases/{name}/import")
async def take_in(
    desk: TheDesk, user: User, name: str, version: int, file: Annotated[UploadFile, File()]
) -> Json:
    """Save the label of another tool; any format that is read here."""
    case = await run_in_threadpool(desk.labels.case, name)
    ending = images.ending_of(Path(file.filename or ""))
    if ending is None:
        raise DataError(
            f"{name}: {file.filename!r} is not a known image format",
            hint="take NIfTI, NRRD, MetaImage, TIFF or PNG",
            code="BAD_LABEL",
        )
    with desk.upload(ending) as path:
        await receive(chunks(file), path, await run_in_threadpool(most_bytes, case))
        return await run_in_threadpool(_save, desk, user, name, path, version, Origin("imported", user))


@router.post("/cases/{name}/accept")
def accept(desk: TheDesk, user: User, name: str, body: Accepted) -> Json:
    """Take a prediction as the label."""
    desk.labels.case(name)
    folder = desk.places.predictions_of(desk.run_named(body.run))
    volume, origin = read_prediction(folder, name, user)
    saved = desk.labels.save(name, volume, base=body.version, origin=origin)
    return _saved(desk, user, name, saved.version, saved.warnings)


@router.post("/accept")
def accept_several(desk: TheDesk, user: User, body: Several) -> Json:
    """Take the predictions of several unlabeled cases as their labels."""
    from semiseg.labeling.accept import accept

    folder = desk.places.predictions_of(desk.run_named(body.run))
    report = accept(desk.labels, folder, cases=body.cases, by=user)
    refused = [{"id": name, **told} for name, told in report.refused.items()]
    return {"accepted": list(report.accepted), "refused": refused}


@router.post("/cases/{name}/reject")
def reject(desk: TheDesk, user: User, name: str, body: Reason) -> Json:
    """Take a scan out of use."""
    desk.labels.reject(name, body.reason, user)
    return {"case": desk.row(name, user)}


@router.post("/cases/{name}/restore")
def restore(desk: TheDesk, user: User, name: str) -> Json:
    """Take a scan back into use."""
    desk.labels.restore(name, user)
    return {"case": desk.row(name, user)}


@router.put("/cases/{name}/draft")
async def keep_draft(
    desk: TheDesk,
    request: Request,
    user: User,
    name: str,
    version: int = 0,
    box: str = "",
    client: Client = "",
) -> Json:
    """Keep unsaved strokes."""
    case = await run_in_threadpool(desk.labels.case, name)
    with desk.upload() as path:
        await receive(request.stream(), path, await run_in_threadpool(most_bytes, case))
        keep = partial(desk.drafts.keep, box=box, client=client)
        return {"saved": await run_in_threadpool(keep, name, user, path, version)}


@router.delete("/cases/{name}/draft")
def drop_draft(desk: TheDesk, user: User, name: str) -> Json:
    """Forget unsaved strokes."""
    desk.labels.case(name)
    desk.drafts.drop(name, user)
    return {}


@router.post("/cases/{name}/drawing")
def drawing(desk: TheDesk, user: User, name: str, body: Drawing) -> Json:
    """Mark a case as being drawn on; says who else draws on it."""
    desk.labels.case(name)
    desk.marks.set(name, body.client, user, body.on)
    return {"drawing": desk.marks.other(name, client=body.client)}


def most_bytes(case: Case) -> int:
    """Of an upload that can be a label of this scan."""
    voxels = int(np.prod(case_header(case).grid.shape))
    return voxels * BYTES_PER_VOXEL + HEADER_BYTES


def read_upload(name: str, case: Case, path: Path) -> Volume:
    """The label in an uploaded file, on the grid of the scan's own file.

    Raises:
        DataError: no image, or one of another size; its voxels are then not unpacked.
    """
    grid = case_header(case).grid
    rows_first = is_picture(case.images[0], grid)
    wanted = as_volume(np.broadcast_to(False, grid.shape), grid, rows_first=rows_first)[1]
    try:
        shape = images.read_header(path).grid.shape
        if sorted(shape) not in (sorted(wanted.shape), sorted(grid.shape)):
            got, want = (times(s) for s in (shape, wanted.shape))
            fix = "draw it on this scan, or resample it onto the scan with nearest neighbor"
            raise bad_label(
                name, [Problem("SHAPE_MISMATCH", f"{got} voxels", f"{want} as the scan", fix, name)]
            )
        volume = images.read_label(path)
    except DataError as error:
        if error.code == "BAD_LABEL":
            raise
        text = error.message.replace(f"{path}: ", "the file ").replace(str(path), "the file")
        raise DataError(f"{name}: {text}", hint=error.hint, code="BAD_LABEL") from None
    return from_volume(volume, grid, rows_first=rows_first)


def read_box(desk: Desk, name: str, path: Path, version: int, box: str) -> Volume:
    """The label of a version with the voxels of an uploaded box in the place of its own.

    Raises:
        DataError: an upload that is not on the box.
        UsageError: no box of this scan.
    """
    grid = case_header(desk.labels.case(name)).grid
    found = part.parsed(box, grid)
    shape = tuple(high - low for low, high in found)
    got = images.read_header(path).grid.shape
    if got != shape:
        fix, text = "reload the page", times(shape)
        told = times(got)
        raise bad_label(name, [Problem("SHAPE_MISMATCH", f"{told} voxels", f"{text} as the part", fix, name)])
    base = desk.labels.file(name, version) if version else None
    whole = images.read_label(base).array if base is not None else None
    return Volume(part.pasted(whole, grid, found, images.read_label(path).array), grid)


def _save(
    desk: Desk,
    user: str,
    name: str,
    path: Path,
    version: int,
    origin: Origin,
    *,
    box: str = "",
    planes: str = "",
    client: str = "",
) -> Json:
    case = desk.labels.case(name)
    volume = read_box(desk, name, path, version, box) if box else read_upload(name, case, path)
    if planes:
        volume = replace(volume, array=masked(volume.array, _planes(planes), desk.labels.dataset))
    if origin.run is not None:
        run = origin.run if origin.run in desk.places.predicted_runs() else None
        score = _agreement(desk, name, run, volume) if run else None
        origin = replace(origin, run=run, agreement=score)
    saved = desk.labels.save(name, volume, base=version, origin=origin)
    desk.drafts.drop(name, user, client)
    desk.marks.clear(name, user)
    return _saved(desk, user, name, saved.version, saved.warnings)


def _planes(text: str) -> list[tuple[int, int]]:
    pairs = [word.split(":") for word in text.split(",")]
    if not all(len(pair) == 2 and all(one.isdecimal() for one in pair) for pair in pairs):
        raise UsageError(f"{text!r} are not planes", hint="AXIS:INDEX,AXIS:INDEX", code="BAD_PLANE")
    return [(int(axis), int(index)) for axis, index in pairs]


def _agreement(desk: Desk, name: str, run: str, volume: Volume) -> float | None:
    """Mean Dice of the prediction that was corrected with what became of it."""
    path = prediction_path(desk, name, run)
    if path is None:
        return None
    try:
        found = dice_of(desk, images.read_label(path).array, volume.array, volume.grid)
    except SemisegError:
        return None
    known = [value for value in found.values() if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def _saved(desk: Desk, user: str, name: str, version: int, warnings: tuple[str, ...]) -> Json:
    row = desk.row(name, user)
    return {"version": version, "state": row["state"], "case": row, "warnings": list(warnings)}


async def chunks(file: UploadFile) -> AsyncIterator[bytes]:
    """An uploaded file in pieces."""
    while chunk := await file.read(2**20):
        yield chunk
