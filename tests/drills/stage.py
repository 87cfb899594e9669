"""A service with everything that people see of it, in this process, so that any part of it can be made to fail.

with Stage(root, "inotify") as stage:
    stage.settle()
    stage.watcher ...                       # the present session's
    stage.health_says("emitter_dead")       # within ten seconds
    stage.well()                            # healthy again, and the index is the tree
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from indexer.service.daemon import Service, Session
from indexer.service.serve import serve, service_of
from indexer.store import open_store
from indexer.store.initialise import initialise_store
from tests.agreement import disagreements
from tests.waiting import PATIENCE, until

FLIPS = 10.0
"""Seconds within which health tells (issue: health and metrics)."""


class Clock:
    """The wall clock, as somebody has set it."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        """Return Unix seconds."""
        return time.time() + self.offset


class Stage:
    """A store at `root` and its service, with HTTP, by one backend."""

    def __init__(self, root: Path, backend: str, configuration: str = "") -> None:
        self.root = root
        self.backend = backend
        self.clock = Clock()
        if configuration:
            (root / "indexer.toml").write_text(configuration, encoding="utf-8")
        initialise_store(root, environ={})
        self.store = open_store(root, environ={})
        self.sessions: list[Session] = []
        self._ready = threading.Event()
        self._listening = threading.Event()
        self._where = ""
        self._failure: BaseException | None = None
        self.seen: set[str] = set()
        """Every reason that health has given."""
        self._flips = threading.Condition()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.service: Service = service_of(self.store, backend=self.backend, on_ready=self._ready.set, clock=self.clock)
        open_session = self.service._open_session

        @contextmanager
        def noting() -> Iterator[Session]:
            with open_session() as opened:
                self.sessions.append(opened)
                yield opened

        self.service._open_session = noting
        self._threads = [threading.Thread(target=target) for target in (self._serve, self._probe)]
        self._threads[0].start()
        assert self._ready.wait(PATIENCE), self._failure
        assert self._listening.wait(PATIENCE)
        self._threads[1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.service.stop()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _serve(self) -> None:
        try:
            serve(
                self.store, self.service, clock=self.clock, schedule=False, http="127.0.0.1:0",
                on_listening=self._listens,
            )  # fmt: skip
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self._failure = error
        self._ready.set()

    def _listens(self, where: str) -> None:
        self._where = where.removeprefix("http://")
        self._listening.set()

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Return what `GET /health` answers now."""
        connection = http.client.HTTPConnection(self._where.rstrip("/"), timeout=5)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _probe(self) -> None:
        """Ask for its health all the time, as a balancer does."""
        while not self._ended.wait(0.02):
            try:
                code, body = self.ask()
            except OSError:
                continue
            if code == 503:
                with self._flips:
                    self.seen.update(body["reasons"])
                    self._flips.notify_all()

    # The present session

    @property
    def watcher(self) -> Any:
        """Its watcher."""
        return self.sessions[-1].watcher

    @property
    def index(self) -> Any:
        """Its index."""
        return self.sessions[-1].index

    # What is seen from outside

    def health_says(self, *reasons: str) -> str:
        """Wait until health has said one of these, at most as long as it may take; return which."""
        with self._flips:
            said = self._flips.wait_for(lambda: self.seen & set(reasons), FLIPS)
            assert said, (reasons, self.seen, self.service.board.snapshot, self._failure)
            return min(said)

    def settle(self) -> None:
        """Wait until everything that has happened is in the index."""
        assert self.service.settle(PATIENCE), (self.service.board.snapshot, self._failure)

    def files(self) -> int:
        """Return how many rows there are, whatever state it is in."""
        from indexer.index.queries import Reader

        with Reader.open(self.store.index_path) as reader:
            return int(reader.totals().files)

    def well(self) -> None:
        """It is healthy again by itself, and the index is the tree."""
        self.settle()
        until(lambda: self.ask()[0] == 200, "healthy")
        assert disagreements(self.store.index_path, self.root) == {}
        expected = "reconciling" if self.backend == "poll" else "clean"
        until(lambda: self.service.board.snapshot.state == expected, expected)
