"""Polling: nothing is reported, so everything is looked at, and nobody is told that all is known meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.watch.poll import REASON, PollWatcher
from indexer.watch.source import DirectoryWatcher
from tests.capabilities import needs
from tests.program import Program
from tests.users import do_within


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a tree with a few files."""
    root = tmp_path / "store"
    (root / "a" / "b").mkdir(parents=True)
    for place in (root, root / "a", root / "a" / "b"):
        (place / "file").write_bytes(b"1")
    return root


def change(store: Path) -> None:
    """Do what the times of directories tell, and what they do not."""
    (store / "a" / "b" / "file").write_bytes(b"in place")
    (store / "a" / "new").mkdir()
    (store / "a" / "new" / "file").touch()
    (store / "a").rename(store / "moved")
    (store / "file").unlink()


def test_a_barrier_rides_in_the_next_batch() -> None:
    """There is no queue to wait for."""
    watcher = PollWatcher(clock=lambda: 5.0)
    assert isinstance(watcher, DirectoryWatcher)
    assert not watcher.take(0)
    barrier = watcher.barrier()
    assert watcher.take(None).barriers == [barrier]
    watcher.register(7, -1, b"")
    assert (set(watcher.unwatched), watcher.watches(7), watcher.watches(8)) == ({7}, True, False)
    watcher.forget(7)
    assert set(watcher.unwatched) == set()


def test_settle_looks_at_everything(program: Program, store: Path) -> None:
    """Also at what was written in place; the state never is clean, since nobody would say that something changed."""
    with program.watch(store, "--backend", "poll") as service:
        change(store)
        service.settle()
        assert program.differences(store) == {}
        status = service.status()
        assert (status["backend"], status["state"], status["reasons"]) == ("poll", "reconciling", [])
        assert status["backend_reason"].endswith(REASON)
        assert (status["unwatched"], status["unwatched_paths"]) == (0, [])


@needs("CAP_SYS_ADMIN")
def test_without_an_inotify_instance_the_service_polls(store: Path) -> None:
    """For real: in a user namespace that allows none; doctor names the sysctl."""

    def work() -> None:
        program = Program()
        with program.watch(store) as service:
            change(store)
            service.settle()
            assert program.differences(store) == {}
            assert "inotify instances are used up" in service.status()["backend_reason"]
            checks = {check["name"]: check for check in program.json("doctor", store, exits=1)["checks"]}
            assert checks["inotify instances"]["remedy"].startswith("sysctl user.max_inotify_instances=")

    do_within({"max_inotify_instances": 0}, work)
    assert not os.path.exists(store / ".indexer" / "control.sock")
