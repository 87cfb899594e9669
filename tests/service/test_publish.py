"""`[publish]`: the copy is there, is fresh, is readable by those it is for, and is in nobody's way."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.config.model import PublishConfig
from indexer.service.daemon import Service
from indexer.service.publish import Publisher
from indexer.store import Store
from tests.capabilities import needs
from tests.program import PATIENCE, Program
from tests.reports.built import NOW
from tests.reports.stores import media_store

NOBODY = 65_534


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a small index."""
    (tmp_path / "state").mkdir()
    return media_store(tmp_path / "state")


def publisher(store: Store, path: Path, clock: Callable[[], float] = lambda: NOW, every: int = 900) -> Publisher:
    """Return one whose service is ready."""

    def no_session() -> None:
        raise AssertionError("nothing is served here")

    service = Service(no_session)  # type: ignore[arg-type]
    service.board.update(ready=True)
    return Publisher(store, service, PublishConfig(path, every), clock=clock)


def test_the_age_of_the_copy_says_when_the_next_is_due(store: Store, tmp_path: Path) -> None:
    """Now where there is none; not again because the service was started again; not never because a clock was wrong."""
    target = tmp_path / "media.db"
    one = publisher(store, target)
    assert one.due_at() == NOW
    one.publish()
    os.utime(target, (NOW, NOW))
    assert one.due_at() == publisher(store, target).due_at() == NOW + 900
    os.utime(target, (NOW + 10**6, NOW + 10**6))
    assert one.due_at() == NOW + 900
    assert (target.stat().st_mode & 0o7777, one.row()["result"]) == (0o640, "done")


def test_a_failure_is_told_and_tried_again(store: Store, tmp_path: Path) -> None:
    """In `jobs` of `status`; the next try is when the next copy would have been due."""
    one = publisher(store, tmp_path / "missing" / "media.db")
    one.publish()
    row = one.row()
    assert (row["name"], row["result"], row["next"]) == ("publish", "failed", NOW + 900)
    assert "No such file or directory" in row["detail"]
    (tmp_path / "missing").mkdir()
    one.publish()
    assert (one.row()["result"], one.row()["detail"]) == ("done", "")


def test_a_stop_breaks_the_copy_off_and_the_old_one_stays(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service with many files ends at once, and leaves no half of a file."""
    target = tmp_path / "media.db"
    target.write_bytes(b"the one before")
    os.utime(target, (0, 0))
    monkeypatch.setattr("indexer.reports.publish.STEPS", 1)
    reached = threading.Event()
    one = publisher(store, target)

    def stopping() -> bool:
        reached.set()
        one._stop.wait(PATIENCE)
        return True

    monkeypatch.setattr(one._stop, "is_set", stopping)
    with one:
        assert reached.wait(PATIENCE)
    assert target.read_bytes() == b"the one before"
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.endswith(".partial")] == []
    assert one.row()["result"] == "failed"


@needs("CAP_SYS_ADMIN", "sqlite3")
def test_others_read_it_while_the_service_runs_and_while_it_does_not(
    public_tmp: Path, as_user: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The databases themselves are private; the copy is not, and follows what happens."""
    root, target = public_tmp / "store", public_tmp / "media.db"
    root.mkdir()
    (root / "a.txt").write_bytes(b"x" * 10)
    program = Program()
    program.run("init", root, "--profile", "empty")
    with (root / "indexer.toml").open("a", encoding="utf-8") as config:
        config.write(f'\n[publish]\npath = "{target}"\nevery = "1s"\nmode = "0640"\ngroup = "{NOBODY}"\n')

    def seen() -> list[str]:
        query = "SELECT path FROM files WHERE path LIKE '%.txt' ORDER BY 1"
        done = as_user(NOBODY, ["sqlite3", f"file:{target}?mode=ro", query])
        return done.stdout.split()

    def until(expected: list[str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while (last := seen()) != expected:
            assert time.monotonic() < deadline, last

    with program.watch(root) as service:
        until(["a.txt"])
        (root / "b.txt").write_bytes(b"y")
        until(["a.txt", "b.txt"])
        (job,) = [job for job in service.status()["jobs"] if job["name"] == "publish"]
        assert (job["when"], job["detail"]) == ("every 1s", "")
        assert as_user(NOBODY, ["cat", str(root / ".indexer" / "index.db")]).returncode != 0
    assert seen() == ["a.txt", "b.txt"]
    assert (target.stat().st_mode & 0o7777, target.stat().st_gid) == (0o640, NOBODY)
