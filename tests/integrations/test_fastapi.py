"""The example application with two real workers: uploads expire, health and usage answer, one takes over."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from indexer.enforce import hooks
from indexer.store import Store, initialise_store, open_store
from tests.program import PATIENCE, REPOSITORY
from tests.waiting import until

pytest.importorskip("fastapi")

POLICY = """
[store]
mode = "enforce"
[guards]
max_fraction = 1.0
[[class]]
name = "uploads"
match = ["uploads/**"]
ttl = "3s"
min_age = "0s"
[schedule]
cleanup = "every second"
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store whose uploads live three seconds."""
    root = tmp_path / "store"
    (root / "uploads").mkdir(parents=True)
    (root / "indexer.toml").write_text(POLICY)
    initialise_store(root)
    return open_store(root)


class App:
    """The example under uvicorn."""

    def __init__(self, store: Store, workers: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = ["--port", str(self.port), "--workers", str(workers), "--log-level", "warning"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "examples.fastapi_app:app", *options],
            cwd=REPOSITORY,
            env={**os.environ, "STORE": str(store.root)},
            start_new_session=True,
        )

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, Any]:
        """Return (status, document), (0, None) while nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body=body)
            answer = connection.getresponse()
            text = answer.read()
        except (ConnectionError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()
        return answer.status, json.loads(text) if "json" in answer.headers.get("content-type", "") else text.decode()

    def healthy(self) -> bool:
        """Say whether a worker answers 200."""
        return self.ask("/health")[0] == 200

    def end(self) -> int:
        """Stop it and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """Kill what is left of it: workers outlive a server that is killed."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def app(store: Store) -> Iterator[App]:
    """Run two workers."""
    running = App(store, 2)
    try:
        until(lambda: running.ask("/usage")[0] == 200 and running.healthy(), "the first scan")
        yield running
    finally:
        running.kill()


def uploads(app: App) -> int:
    """Return how many uploads the usage shows."""
    code, document = app.ask("/usage")
    return -1 if code != 200 else next((row["files"] for row in document["rows"] if row["class"] == "uploads"), 0)


def test_uploads_are_indexed_and_expire(app: App, store: Store) -> None:
    """Real files through HTTP: seen by /usage at once, gone from the tree when their time is over, explained after."""
    for number in range(4):
        assert app.ask(f"/uploads/{number}.bin", "POST", b"x" * 100_000) == (201, {"bytes": 100_000})
    until(lambda: uploads(app) == 4, "the uploads in /usage")
    assert 'indexer_files{class="uploads"' in app.ask("/metrics")[1]
    until(lambda: os.listdir(store.root / "uploads") == [], "their end")
    until(lambda: uploads(app) == 0, "their end in /usage")
    code, explained = app.ask("/uploads/0.bin/explain")
    assert code == 200
    assert explained["removed"]["outcome"] in {"trashed", "destroyed"}
    assert app.ask("/status")[1]["jobs"][0]["name"] == "cleanup"
    assert app.end() == 0


def test_another_worker_takes_over(app: App, store: Store) -> None:
    """The worker that is the service is killed: another becomes it, and what happened meanwhile is found."""
    first = until(store.service_pid, "a service") or 0
    os.kill(first, signal.SIGKILL)
    (store.root / "uploads" / "meanwhile").write_bytes(b"1")
    second = until(lambda: (pid := store.service_pid()) != first and pid, "another service")
    assert second
    until(lambda: app.healthy() and uploads(app) == 1, "health and the file")


def test_the_application_keeps_its_own_lifespan(store: Store) -> None:
    """`inner` runs inside, and its state reaches the application."""
    from indexer.integrations.fastapi import lifespan

    seen: list[str] = []

    @asynccontextmanager
    async def own(_app: Any) -> AsyncIterator[dict[str, int]]:
        seen.append("begun")
        yield {"answer": 42}
        seen.append("ended")

    class Plain:
        class state:  # noqa: N801 - as Starlette calls it
            pass

    async def life() -> None:
        async with lifespan(store.root, own)(Plain) as state:
            assert state == {"answer": 42}
            worker = Plain.state.indexer_worker  # type: ignore[attr-defined]
            await asyncio.to_thread(until, lambda: worker.is_service and worker.health()[0] == 200, "health")

    asyncio.run(life())
    assert seen == ["begun", "ended"]
    assert store.service_pid() is None


def test_the_schedule_wakes_up_in_the_loop_and_removes_in_threads(store: Store) -> None:
    """An AsyncIOScheduler of the application's own: its jobs go on, the store's come and go with the service.

    While a removal stands still, the loop does not.
    """
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

    from indexer.integrations.fastapi import lifespan

    (store.root / "uploads" / "file").write_bytes(b"x")
    threads: list[threading.Thread] = []
    released = threading.Event()

    def at(window: str, name: bytes = b"") -> None:
        del name
        if window == "run.begun":
            threads.append(threading.current_thread())
            assert released.wait(PATIENCE)

    class Plain:
        class state:  # noqa: N801 - as Starlette calls it
            pass

    async def life() -> None:
        ticks: list[str] = []

        async def tick() -> None:
            ticks.append(threading.current_thread().name)

        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.add_job(tick, "interval", seconds=0.05, id="the application's own")
        scheduler.start()
        async with lifespan(store.root, scheduler=scheduler)(Plain):
            await asyncio.to_thread(until, lambda: threads, "a run of the schedule")
            assert {job.id.rpartition(".")[2] for job in scheduler.get_jobs()} == {
                "look",
                "cleanup",
                "the application's own",
            }
            before = len(ticks)
            await asyncio.to_thread(until, lambda: len(ticks) > before + 3, "the loop's own work")
            assert await asyncio.to_thread(os.listdir, store.root / "uploads") == ["file"]
            released.set()
            await asyncio.to_thread(until, lambda: os.listdir(store.root / "uploads") == [], "the removal")
        assert [job.id for job in scheduler.get_jobs()] == ["the application's own"]
        assert set(ticks) == {threading.main_thread().name}
        assert threads[0] is not threading.main_thread()
        scheduler.shutdown()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hooks, "at", at)
        asyncio.run(life())
    assert store.service_pid() is None
