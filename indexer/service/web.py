"""HTTP: health, metrics, status and usage of one store, read only; and who may ask."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from indexer.errors import EXIT_NO_STORE, IndexerError
from indexer.service.health import health_from_outside, health_of, unavailable
from indexer.service.metrics import metrics_text
from indexer.service.openapi import document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from indexer.service.daemon import Service
    from indexer.service.health import Health
    from indexer.store import Store

OPEN = "/health"
"""Answered whatever Host and token say: probes know neither."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class View:
    """What may be seen of a store over HTTP. Each method blocks: call it in a thread."""

    store: Store
    now: Callable[[], float]
    service: Service | None = None
    """The store's own in this process; None: whoever answers at its socket is asked."""

    def health(self) -> Health:
        """Return (status, document)."""
        return health_of(self.service) if self.service is not None else health_from_outside(self.store)

    def status(self) -> dict[str, Any]:
        """Return the keys of `status --json`."""
        from indexer.service.status import status

        return status(self.store, self.now())

    def usage(self) -> dict[str, Any]:
        """Return the rows of `report usage`."""
        from indexer.reports.tables import report

        return {"rows": report(self.store, "usage", int(self.now()))}

    def metrics(self) -> bytes:
        """Return the Prometheus text."""
        return metrics_text(self.store, self.status(), self.usage()["rows"])


def routes(view: View, prefix: str = "") -> list[Route]:
    """Return the routes, each below `prefix`."""

    def answering(work: Callable[[], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(_: Request) -> Response:
            return await _answer(lambda: JSONResponse(work()))

        return endpoint

    async def health(_: Request) -> Response:
        code, body = await run_in_threadpool(view.health)
        return JSONResponse(body, code, {"cache-control": "no-store"})

    async def metrics(_: Request) -> Response:
        return await _answer(lambda: Response(view.metrics(), media_type=METRICS_TYPE))

    async def openapi(_: Request) -> Response:
        return JSONResponse(document(prefix))

    return [
        Route(f"{prefix}{OPEN}", health, methods=["GET"]),
        Route(f"{prefix}/metrics", metrics, methods=["GET"]),
        Route(f"{prefix}/api/status", answering(view.status), methods=["GET"]),
        Route(f"{prefix}/api/usage", answering(view.usage), methods=["GET"]),
        Route(f"{prefix}/openapi.json", openapi, methods=["GET"]),
    ]


async def _answer(work: Callable[[], Response]) -> Response:
    try:
        return await run_in_threadpool(work)
    except IndexerError as error:
        if error.exit_code == EXIT_NO_STORE:
            return JSONResponse(unavailable(error), 503)
        return JSONResponse({"error": {"code": error.code, "message": error.message, "remedy": error.remedy}}, 500)


def application(view: View, *, token: str | None = None, hosts: frozenset[str] | None = None) -> ASGIApp:
    """Return the ASGI application.

    `token` is asked for as `Authorization: Bearer …` (None: by nobody); `hosts` are the names that Host may carry
    (None: any, for a unix socket), so that a page in a browser cannot reach a
    private port by a name of its own.
    """
    return _Guard(Starlette(routes=routes(view)), token, hosts)


class _Guard:
    """Stands before the application."""

    def __init__(self, inner: ASGIApp, token: str | None, hosts: frozenset[str] | None) -> None:
        self._inner = inner
        self._token = None if token is None else b"Bearer " + token.encode()
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refusal(scope) if scope["type"] == "http" else None
        await (refused or self._inner)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        if scope["path"] == OPEN:
            return None
        headers = scope["headers"]
        if self._hosts is not None:
            named = [value for name, value in headers if name == b"host"]
            if len(named) != 1 or _name_of(named[0]) not in self._hosts:
                return PlainTextResponse("this Host is not answered here\n", 421)
        if self._token is not None:
            given = next((value for name, value in headers if name == b"authorization"), b"")
            if not hmac.compare_digest(given, self._token):
                return PlainTextResponse("a token is needed\n", 401, {"www-authenticate": "Bearer"})
        return None


def _name_of(host: bytes) -> str:
    """Return the name in a Host header, without port and brackets, in small letters."""
    text = host.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]
