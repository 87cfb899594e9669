"""The store's service as a part of a FastAPI (or Starlette) application.

app = FastAPI(lifespan=lifespan("/srv/media/storage"))
app.include_router(router(prefix="/storage"))

With several workers the first is the service, the others are its clients, and one takes over when it dies. In a path
operation `request.app.state.indexer` is the `StorageManager`; its calls block, so use plain `def`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from indexer.errors import EXIT_NO_STORE, IndexerError
from indexer.integrations.worker import Worker
from indexer.service.health import unavailable
from indexer.service.web import METRICS_TYPE

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from apscheduler.schedulers.asyncio import AsyncIOScheduler

    from indexer.manager import StorageManager

    Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(
    store: str | os.PathLike[str],
    inner: Lifespan | None = None,
    *,
    schedule: bool = True,
    scheduler: AsyncIOScheduler | None = None,
) -> Lifespan:
    """Return a lifespan that runs the service of `store` beside the application; `inner` is the application's own.

    The application starts at once: until the first scan is complete `/health` says `reconciling`. The store's schedule
    wakes up in the application's loop, by `scheduler` if it has an APScheduler already (which stays its own to start
    and to end), else by one that is `app.state.indexer_scheduler`; what it starts runs in threads. `schedule` False
    leaves it out. Raises (when the application starts) what `StorageManager` raises.
    """

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[Any]:
        from apscheduler.schedulers.asyncio import AsyncIOScheduler

        waking = scheduler or AsyncIOScheduler(timezone="UTC")
        worker = await run_in_threadpool(Worker, store, schedule=schedule, scheduler=waking)
        app.state.indexer, app.state.indexer_worker = worker.manager, worker
        app.state.indexer_scheduler = waking
        if scheduler is None:
            waking.start()
        worker.__enter__()
        try:
            if inner is None:
                yield None
            else:
                async with inner(app) as state:
                    yield state
        finally:
            await run_in_threadpool(worker.__exit__, None, None, None)
            if scheduler is None:
                waking.shutdown(wait=False)

    return run


def router(prefix: str = "") -> APIRouter:
    """Return `/health`, `/status`, `/usage` and `/metrics` below `prefix`, read only, for an app with `lifespan`.

    They ask for no token: give `include_router(…, dependencies=[…])` the application's own check where others can
    reach it.
    """
    made = APIRouter(prefix=prefix, tags=["storage"])

    @made.get("/health")
    def health(request: Request) -> Response:
        """Answer 200, or 503 with reasons."""
        worker: Worker = request.app.state.indexer_worker
        code, document = worker.health()
        return JSONResponse(document, code, {"cache-control": "no-store"})

    @made.get("/status")
    def status(request: Request) -> Response:
        """Answer as `indexer status --json`."""
        return _answer(request, lambda manager: JSONResponse(manager.status()))

    @made.get("/usage")
    def usage(request: Request) -> Response:
        """Answer as `indexer report usage --json`."""
        return _answer(request, lambda manager: JSONResponse({"rows": manager.usage()}))

    @made.get("/metrics")
    def metrics(request: Request) -> Response:
        """Answer with the Prometheus text."""

        def text(manager: StorageManager) -> Response:
            return Response(manager.metrics(), media_type=METRICS_TYPE)

        return _answer(request, text)

    return made


def _answer(request: Request, work: Callable[[StorageManager], Response]) -> Response:
    try:
        return work(request.app.state.indexer)
    except IndexerError as error:
        if error.exit_code == EXIT_NO_STORE:
            return JSONResponse(unavailable(error), 503)
        return JSONResponse({"error": {"code": error.code, "message": error.message, "remedy": error.remedy}}, 500)
