"""The web application: all routes behind the guard, errors as JSON, nothing of another host."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from semiseg.errors import SemisegError, UsageError, as_semiseg_error
from semiseg.studio.api import cases, deliver, files, jobs, labels, monai, pages, results, reviews
from semiseg.studio.api.common import answer_of
from semiseg.studio.desk import Desk
from semiseg.studio.guard import Guard

log = logging.getLogger("semiseg.studio")


def make_app(desk: Desk, *, host: str, port: int, token: str | None = None) -> FastAPI:
    """The application of one dataset, whose queue runs as long as the application.

    Served on ``host`` and ``port``; ``token`` is what requests must carry, or None.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        desk.queue.start()
        threading.Thread(target=desk.orders.welcome, name="welcome", daemon=True).start()
        yield
        desk.close()

    app = FastAPI(title="semiseg studio", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.desk = desk
    for part in (pages, cases, files, labels, jobs, results, deliver, reviews, monai):
        app.include_router(part.router)
    app.add_exception_handler(SemisegError, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)
    app.add_middleware(Guard, host=host, port=port, token=token)
    return app


def _told(request: Request, error: Exception) -> JSONResponse:
    return answer_of(as_semiseg_error(error))


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    known = as_semiseg_error(error)
    log.warning("%s %s: %s", request.method, request.url.path, known.message)
    log.debug("where it happened", exc_info=error)
    return answer_of(known)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    found = error.errors()[0] if isinstance(error, RequestValidationError) and error.errors() else {}
    where = ".".join(str(part) for part in found.get("loc", ()))
    message = f"{where}: {found.get('msg', 'not understood')}"
    return answer_of(UsageError(message, hint="reload the page, or correct the request", code="BAD_REQUEST"))


def _http(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = "NOT_FOUND" if status == 404 else "HTTP"
    message = str(error.detail) if isinstance(error, HTTPException) else str(error)
    told = f"{request.method} {request.url.path}: {message}"
    answer = answer_of(UsageError(told, hint="reload the page, or correct the address", code=code))
    answer.status_code = status
    return answer
