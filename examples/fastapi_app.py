"""An application that takes uploads into a store, and lets the store's policy see to their end.

STORE=/srv/media/storage uvicorn examples.fastapi_app:app --workers 2
curl --data-binary @film.mp4 http://127.0.0.1:8000/uploads/film.mp4
curl http://127.0.0.1:8000/health http://127.0.0.1:8000/usage
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from indexer.integrations.fastapi import lifespan, router

STORE = Path(os.environ["STORE"])
UPLOADS = STORE / "uploads"

app = FastAPI(title="uploads", lifespan=lifespan(STORE))
app.include_router(router())


@app.post("/uploads/{name}", status_code=201)
async def upload(name: str, request: Request) -> dict[str, int]:
    """Write the body to a name of its own, and give it the right one when it is whole."""
    if name.startswith(".") or "\0" in name:
        raise HTTPException(422, "this cannot be a file's name")
    UPLOADS.mkdir(exist_ok=True)
    part = UPLOADS / f".{secrets.token_hex(8)}.part"
    size = 0
    try:
        with part.open("xb") as stream:
            async for chunk in request.stream():
                size += await run_in_threadpool(stream.write, chunk)
        part.rename(UPLOADS / name)
    finally:
        part.unlink(missing_ok=True)
    return {"bytes": size}


@app.get("/uploads/{name}/explain")
def explain(name: str, request: Request) -> dict[str, object]:
    """Say when the file goes, and why; or when it went."""
    explained: dict[str, object] = request.app.state.indexer.explain(UPLOADS / name)
    return explained
