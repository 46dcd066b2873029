"""What the routes share: the desk, the annotator, errors as answers, files as answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from semiseg.errors import DataError, SemisegError, UsageError
from semiseg.machine.files import plain, printable
from semiseg.studio.desk import Desk, annotator, missing

STATUS = {
    "OUTDATED_VERSION": 409,
    "JOB_ACTIVE": 409,
    "IN_USE": 409,
    "TEST_CASE": 403,
    "BLIND": 403,
    "NO_PREDICTION": 404,
    "NO_FILE": 404,
    "NO_PAIR": 404,
    "UNKNOWN_CASE": 404,
    "UNKNOWN_RUN": 404,
    "UNKNOWN_JOB": 404,
    "TOO_LARGE": 413,
    "BAD_LABEL": 422,
    "QUEUE_FULL": 429,
}
"""HTTP status by the code of an error; 400 for other usage errors, 422 for other data, 500 for the rest."""


def desk_of(request: Request) -> Desk:
    """The desk of the app."""
    found: Desk = request.app.state.desk
    return found


def user_of(request: Request) -> str:
    """The annotator who asks."""
    return annotator(request.headers.get("x-semiseg-user") or request.query_params.get("user"))


TheDesk = Annotated[Desk, Depends(desk_of)]
User = Annotated[str, Depends(user_of)]


def answer_of(error: SemisegError) -> JSONResponse:
    """An error as an answer."""
    status = STATUS.get(error.code)
    if status is None:
        status = 400 if isinstance(error, UsageError) else 422 if isinstance(error, DataError) else 500
    content = {**error.as_dict(), "detail": error.message}
    return JSONResponse(plain(content), status)


def served(request: Request, path: Path, name: str) -> Response:
    """A file that the browser may keep as long as it asks whether it is still the same."""
    headers = {"ETag": f'"{path.stem}"', "Cache-Control": "private, no-cache"}
    if f'"{path.stem}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    safe = printable(name).encode("ascii", "replace").decode().replace('"', "_")
    headers["Content-Disposition"] = f'inline; filename="{safe}"'
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


async def receive(chunks: AsyncIterator[bytes], path: Path, most: int) -> int:
    """Write what arrives into a file; returns the bytes.

    Raises:
        UsageError: it is more than ``most`` bytes.
    """
    size = 0
    with path.open("wb") as stream:
        async for chunk in chunks:
            size += len(chunk)
            if size > most:
                raise UsageError(
                    f"an upload of more than {most} bytes",
                    hint="is it the label of this scan?",
                    code="TOO_LARGE",
                )
            stream.write(chunk)
    return size


Json = dict[str, Any]

__all__ = ["Json", "TheDesk", "User", "answer_of", "missing", "receive", "served"]
