"""The pages themselves: what the build of ``web/`` has put into ``static``."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse

from semiseg.studio.api.common import missing

router = APIRouter()

STATIC = Path(__file__).resolve().parent.parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".map": "application/json",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
}
NOT_BUILT = "the pages are not built in this checkout: run `make web`, or install the wheel\n"


@router.get("/")
def index() -> Response:
    """The one page."""
    path = STATIC / "index.html"
    return _file(path) if path.is_file() else PlainTextResponse(NOT_BUILT, 503)


@router.get("/favicon.ico")
def favicon() -> Response:
    """The picture in the tab."""
    found = next(
        (STATIC / name for name in ("favicon.ico", "favicon.svg") if (STATIC / name).is_file()), None
    )
    return _file(found) if found else Response(status_code=204)


@router.get("/static/{path:path}")
def static(request: Request, path: str) -> Response:
    """A file of the pages; it is looked up among those that there are."""
    known = {str(file.relative_to(STATIC).as_posix()): file for file in STATIC.rglob("*") if file.is_file()}
    if path not in known:
        raise missing(f"page {path}")
    return _file(known[path])


def _file(path: Path) -> FileResponse:
    kind = TYPES.get(path.suffix, "application/octet-stream")
    return FileResponse(path, media_type=kind, headers={"Cache-Control": "no-cache"})
