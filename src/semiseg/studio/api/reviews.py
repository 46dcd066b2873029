"""Blinded review of two runs."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from semiseg.studio import scans
from semiseg.studio.api.common import Json, TheDesk, User, missing, served
from semiseg.studio.desk import Desk

router = APIRouter(prefix="/api/review")


class Judgment(BaseModel):
    """What somebody thinks of a pair."""

    pair: str
    score: int


@router.get("")
def ask(desk: TheDesk, user: User, a: str, b: str) -> Json:
    """The next pair."""
    return _next(desk, a, b, user)


@router.post("")
def judge(desk: TheDesk, user: User, body: Judgment) -> Json:
    """Keep a judgment, and give the next pair."""
    pair = desk.reviews.judge(body.pair, body.score)
    first, second = sorted((pair.left, pair.right))
    return _next(desk, first, second, user)


@router.get("/{pair}/{side}.nii")
def side(desk: TheDesk, request: Request, pair: str, side: Literal["left", "right"]) -> Response:
    """One of the two label maps."""
    found = desk.reviews.find(pair)
    run = found.left if side == "left" else found.right
    return served(request, scans.predicted_file(desk, found.case, run, "labels"), f"{found.case}_{side}.nii")


@router.get(".csv")
def table(desk: TheDesk) -> Response:
    """All judgments."""
    if not desk.places.reviews.is_file():
        raise missing("judgment yet")
    return Response(desk.places.reviews.read_text(encoding="utf-8"), media_type="text/csv")


def _next(desk: Desk, a: str, b: str, user: str) -> Json:
    pair, done, total = desk.reviews.ask(a, b, user)
    if pair is None:
        return {"pair": None, "case": None, "done": done, "total": total}
    url = f"/api/review/{pair.token}"
    sides = {f"{name}_url": f"{url}/{name}.nii" for name in ("left", "right")}
    return {"pair": pair.token, "case": pair.case, **sides, "done": done, "total": total}
