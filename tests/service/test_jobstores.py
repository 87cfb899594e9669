"""Several instances over one job store: every firing is done, and done once, whoever dies."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.errors import UsageError
from indexer.service.jobstore import open_jobstore
from indexer.service.schedule import Schedule
from indexer.store import Store
from tests.capabilities import needs
from tests.program import REPOSITORY
from tests.service.scheduled import cleanups, scheduled
from tests.waiting import until


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """Run a Redis of our own on a unix socket; yield its address."""
    path = tmp_path / "redis.sock"
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", tmp_path],
        stdout=subprocess.DEVNULL,
    )

    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return path.exists() and connection.connect_ex(str(path)) == 0

    try:
        until(answers, "redis")
        yield f"unix://{path}?db=2"
    finally:
        server.terminate()
        server.wait()


class Instance:
    """One process with the schedule of a store."""

    def __init__(self, store: Store, stop_at: str = "-") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.service.scheduled", store.root, stop_at],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        self.said("started")

    def said(self, word: str) -> None:
        """Wait for a line on its standard output."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word

    def end(self, *, kill: bool = False) -> None:
        """Stop and reap it."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.communicate()


def finished(store: Store) -> list[int]:
    """Return when the whole runs began."""
    if not store.ledger_path.exists():
        return []
    return [run.started for run in cleanups(store) if run.finished and not run.interrupted]


def once(started: list[int]) -> bool:
    """No time of an "every 2 seconds" was used twice."""
    return all(later - before >= 2 for before, later in itertools.pairwise(started))


@needs("redis-server")
def test_two_instances_share_a_redis_and_one_is_killed_in_mid_run(redis: str, tmp_path: Path) -> None:
    """The other does the killed run's work and goes on; no time is used twice, nothing is lost."""
    store = scheduled(tmp_path / "store", f'cleanup = "every 2 seconds"\njobstore = "{redis}"', files=40)
    first = Instance(store, "rename.after")
    first.said("stopped")  # one file is in the trash, and the ledger does not know yet
    second = Instance(store)
    try:
        assert finished(store) == []
        first.end(kill=True)
        until(lambda: len(finished(store)) >= 3, "three runs")
        assert once(finished(store))
        assert sum(run.files_removed for run in cleanups(store)) >= 39
        assert list((store.root / "uploads").iterdir()) == []
        third = Instance(store)
        before = len(finished(store))
        until(lambda: len(finished(store)) >= before + 3, "three more")
        third.end()
    finally:
        second.end()
    assert once(finished(store))


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_database_is_a_job_store_too(kind: str, tmp_path: Path) -> None:
    """Any APScheduler store by URL: its jobs are there, under the store's own name."""
    pytest.importorskip("sqlalchemy")
    address = f"{kind}:///{tmp_path}/jobs.db"
    store = scheduled(tmp_path / "store", f'cleanup = "every second"\njobstore = "{address}"')
    with Schedule(store, heartbeat=0.1):
        until(lambda: len(finished(store)) >= 2, "two runs")
        jobs = open_jobstore(address, store.id)
        jobs.start(None, "default")
        assert [job.id for job in jobs.get_all_jobs()] == [f"{store.id}.cleanup"]
        jobs.shutdown()


def test_a_job_store_that_is_away_stops_nothing(tmp_path: Path) -> None:
    """Retention does not wait for a Redis; the jobs are done by the heartbeat."""
    store = scheduled(tmp_path / "store", f'cleanup = "every second"\njobstore = "unix://{tmp_path}/nobody"')
    with Schedule(store, heartbeat=0.1) as schedule:
        until(lambda: finished(store), "a run")
        assert "jobstore" in schedule._trouble


def test_an_address_that_nobody_serves_is_refused() -> None:
    """The remedy says what to install or correct."""
    with pytest.raises(UsageError):
        open_jobstore("carrier-pigeon://coop", "x")
