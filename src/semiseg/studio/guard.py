"""Who may ask the server for anything, and what every answer says to the browser.

A page of another site must not be able to read or write here, even though the browser of the user can reach
this server: the ``Host`` must be one of ours (against DNS rebinding), an ``Origin`` must be ours, and what
changes something under ``/api`` needs a header that no foreign page can send.
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "worker-src 'self' blob:; connect-src 'self' data: blob:; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'self'"
)
"""Pages, scripts and pictures of this server alone: nothing of another host, no inline script, no eval."""

REPORT_CSP = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "sandbox allow-scripts; frame-ancestors 'self'"
)
"""Of a report that carries its own scripts: it is shown without an origin and can ask nobody for anything."""

HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

COOKIE = "semiseg_token"
MARK = "x-semiseg"
"""The header of what changes something."""
MAX_BODY = 4 * 2**30
"""Bytes of the largest request that is read at all."""

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Guard:
    """ASGI middleware for a server on ``host`` and ``port``.

    Requests must carry ``token`` (None where only this machine can ask), and have ``max_body`` bytes at most.
    """

    def __init__(
        self, app: ASGIApp, *, host: str, port: int, token: str | None, max_body: int = MAX_BODY
    ) -> None:
        self.app, self.token, self.max_body = app, token, max_body
        names = {*LOOPBACK, host, f"[{host}]"}
        if host not in LOOPBACK:  # whoever may ask from elsewhere has a token, and uses one of our names
            names |= {socket.gethostname(), socket.getfqdn(), *_own_addresses()}
        self.hosts = {f"{name.lower()}:{port}" for name in names} | ({*names} if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what may not pass, and put the headers on what does."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        if self.token is not None and scope["path"] == "/" and (given := _token_in(scope)):
            await self._welcome(send, given)
            return
        if self.token is not None and not self._known(headers):
            await _refuse(
                send, 401, "NO_TOKEN", "this server wants its token", "open the address that was printed"
            )
            return
        await self.app(scope, self._counted(receive), _with_headers(send, scope["path"]))

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, str, str] | None:
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            return 403, "FORBIDDEN", "a request to another host name", "open the address that was printed"
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{host}", f"https://{host}"}:
            return 403, "FORBIDDEN", "a request from another site", "use the studio's own page"
        site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
        reads = scope["method"] in ("GET", "HEAD")
        if site in ("cross-site", "same-site") and not (
            reads and mode == "navigate" and scope["path"] == "/"
        ):
            return 403, "FORBIDDEN", "a request from another site", "use the studio's own page"
        if scope["path"].startswith("/api/") and not reads and headers.get(MARK) != "1":
            return 403, "FORBIDDEN", "a change without the header X-Semiseg", "send X-Semiseg: 1"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.max_body:
            return 413, "TOO_LARGE", f"a request of {length} bytes", f"at most {self.max_body} are read"
        return None

    def _known(self, headers: Headers) -> bool:
        bearer = headers.get("authorization", "").partition(" ")[2]
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return any(self._is_token(text) for text in (bearer, cookie))

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), (self.token or "").encode())

    async def _welcome(self, send: Send, given: str) -> None:
        """Keep the token in a cookie that no script reads, and drop it from the address."""
        if not self._is_token(given):
            await _refuse(
                send, 401, "NO_TOKEN", "not the token of this server", "open the address that was printed"
            )
            return
        cookie = f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/"
        await _answer(send, 303, b"", {**HEADERS, "Location": "/", "Set-Cookie": cookie})

    def _counted(self, receive: Receive) -> Receive:
        """A body that does not say how long it is ends where it is too long."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body:
                return {"type": "http.disconnect"}
            return message

        return counted


def _with_headers(send: Send, path: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-cache" if path.startswith("/static/") else "no-store")
        await send(message)

    return sending


async def _refuse(send: Send, status: int, code: str, message: str, hint: str) -> None:
    content = {"ok": False, "code": code, "message": message, "hint": hint, "detail": message, "details": {}}
    await _answer(send, status, json.dumps(content).encode(), {**HEADERS, "Content-Type": "application/json"})


async def _answer(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _token_in(scope: Scope) -> str | None:
    return QueryParams(scope.get("query_string", b"")).get("token")


def _own_addresses() -> set[str]:
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return set()
    return {str(entry[4][0]) for entry in found}
