"""Scans, labels, predictions and maps as NIfTI; of a large scan a preview (``size=preview``) or a box."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from semiseg.dataset.case import case_header
from semiseg.errors import UsageError
from semiseg.studio import scans
from semiseg.studio.api.common import Json, TheDesk, User, missing, served
from semiseg.studio.part import PREVIEW, around, written

router = APIRouter(prefix="/api/cases/{name}")


def _part(size: str = "full", box: str = "") -> str:
    return box or (PREVIEW if size == PREVIEW else "")


Part = Annotated[str, Depends(_part)]


@router.get("/image/{channel}.nii")
def image(desk: TheDesk, request: Request, name: str, channel: int, part: Part) -> Response:
    """A channel of the scan."""
    path = scans.image_file(desk, name, channel, part)
    return served(request, path, f"{name}_{channel:04d}.nii")


@router.get("/label.nii")
def label(desk: TheDesk, request: Request, name: str, part: Part, version: int | None = None) -> Response:
    """The label, or an older version of it."""
    return served(request, scans.label_file(desk, name, version, part), f"{name}_label.nii")


@router.get("/prediction.nii")
def prediction(desk: TheDesk, request: Request, name: str, part: Part, run: str | None = None) -> Response:
    """The label map that a run predicted."""
    return served(request, scans.predicted_file(desk, name, run, "labels", part), f"{name}_prediction.nii")


@router.get("/uncertainty.nii")
def uncertainty(desk: TheDesk, request: Request, name: str, part: Part, run: str | None = None) -> Response:
    """Entropy per voxel, 0 to 1."""
    return served(request, scans.predicted_file(desk, name, run, "entropy", part), f"{name}_uncertainty.nii")


@router.get("/difference.nii")
def difference(desk: TheDesk, request: Request, name: str, part: Part, run: str | None = None) -> Response:
    """Where label and prediction differ."""
    return served(request, scans.difference_file(desk, name, run, part), f"{name}_difference.nii")


@router.get("/draft.nii")
def draft(desk: TheDesk, request: Request, user: User, name: str) -> Response:
    """The unsaved strokes of the annotator."""
    desk.index.find(name)
    path = desk.drafts.file(name, user)
    if not path.is_file():
        raise missing(f"draft of {name}")
    headers = {"X-Semiseg-Version": str(desk.drafts.version(name, user))}
    return Response(path.read_bytes(), media_type="application/octet-stream", headers=headers)


@router.get("/part")
def part_around(desk: TheDesk, name: str, at: str) -> Json:
    """The box of voxels around a place in mm (``x,y,z``) that a slow browser can draw on."""
    grid = case_header(desk.index.find(name)).grid
    try:
        place = [float(word) for word in at.split(",")]
    except ValueError:
        place = []
    if len(place) != 3 or len(grid.shape) != 3:
        raise UsageError(f"{at!r} is not a position in a volume", hint="x,y,z in mm", code="BAD_BOX")
    return {"box": written(around(grid, place))}
