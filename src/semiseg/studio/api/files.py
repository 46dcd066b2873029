"""Scans, labels, predictions and maps as NIfTI files."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from semiseg.studio import scans
from semiseg.studio.api.common import TheDesk, User, missing, served

router = APIRouter(prefix="/api/cases/{name}")


@router.get("/image/{channel}.nii")
def image(desk: TheDesk, request: Request, name: str, channel: int, size: str = "full") -> Response:
    """A channel of the scan; ``size=preview`` leaves voxels out of a big one."""
    path = scans.image_file(desk, name, channel, preview=size == "preview")
    return served(request, path, f"{name}_{channel:04d}.nii")


@router.get("/label.nii")
def label(desk: TheDesk, request: Request, name: str, version: int | None = None) -> Response:
    """The label, or an older version of it."""
    return served(request, scans.label_file(desk, name, version), f"{name}_label.nii")


@router.get("/prediction.nii")
def prediction(desk: TheDesk, request: Request, name: str, run: str | None = None) -> Response:
    """The label map that a run predicted."""
    return served(request, scans.predicted_file(desk, name, run, "labels"), f"{name}_prediction.nii")


@router.get("/uncertainty.nii")
def uncertainty(desk: TheDesk, request: Request, name: str, run: str | None = None) -> Response:
    """Entropy per voxel, 0 to 1."""
    return served(request, scans.predicted_file(desk, name, run, "entropy"), f"{name}_uncertainty.nii")


@router.get("/difference.nii")
def difference(desk: TheDesk, request: Request, name: str, run: str | None = None) -> Response:
    """Where label and prediction differ."""
    return served(request, scans.difference_file(desk, name, run), f"{name}_difference.nii")


@router.get("/draft.nii")
def draft(desk: TheDesk, request: Request, user: User, name: str) -> Response:
    """The unsaved strokes of the annotator."""
    desk.index.find(name)
    path = desk.drafts.file(name, user)
    if not path.is_file():
        raise missing(f"draft of {name}")
    headers = {"X-Semiseg-Version": str(desk.drafts.version(name, user))}
    return Response(path.read_bytes(), media_type="application/octet-stream", headers=headers)
