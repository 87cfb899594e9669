"""Holds and leases through the manager: absolute, durable, and in force when the call returns."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from indexer.enforce import hooks
from indexer.enforce.ledger import Ledger
from indexer.errors import UsageError
from indexer.manager import StorageManager
from indexer.service.holding import Lease
from indexer.store import initialise_store

POLICY = """
[store]
mode = "enforce"
[guards]
max_fraction = 1.0
[[class]]
name = "temp"
match = ["temp/**"]
ttl = "1h"
arrival_floor = false
min_age = "1s"
"""
LONG_AGO = 1_600_000_000


@pytest.fixture
def manager(tmp_path: Path) -> StorageManager:
    """A store with six expired files in three directories."""
    root = tmp_path / "store"
    for name in ("temp/a/1", "temp/a/2", "temp/b/3", "temp/b/4", "temp/5", "temp/6"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (LONG_AGO, LONG_AGO))
    (root / "indexer.toml").write_text(POLICY)
    initialise_store(root)
    return StorageManager(root)


def planned(manager: StorageManager) -> set[str]:
    """Return the paths that a run would take."""
    return {action["path"] for action in manager.plan()["actions"]}


def left(manager: StorageManager) -> set[str]:
    """Return the files that are there."""
    root = manager.store.root
    return {str(path.relative_to(root)) for path in (root / "temp").rglob("*") if path.is_file()}


def test_held_files_and_trees_stay_whatever_their_age(manager: StorageManager) -> None:
    """A hold on a tree covers all below it, one on a file only that; the rest goes."""
    manager.hold("temp/a", "temp/5", reason="review")
    assert planned(manager) == {"temp/b/3", "temp/b/4", "temp/6"}
    result = manager.run_cleanup()
    assert (result["files_removed"], result["kept"]) == (3, {"held": 3})
    assert left(manager) == {"temp/a/1", "temp/a/2", "temp/5"}


def test_a_hold_ends_at_its_time(manager: StorageManager) -> None:
    """`until` and `ttl` are the same promise: not a second longer than said."""
    late = StorageManager.of(manager.store, clock=lambda: time.time() + 7200)
    (held,) = manager.hold("temp", ttl="1h")
    assert held["until"] == pytest.approx(time.time() + 3600, abs=60)
    assert planned(manager) == set()
    assert len(planned(late)) == 6


def test_release_ends_exactly_what_was_held(manager: StorageManager) -> None:
    """A path that was not held is named, and other holds stay."""
    manager.hold("temp/a", "temp/b")
    holds, nothing = manager.release("temp/a", "temp/a/1")
    assert [one["path"] for one in holds] == ["temp/b"]
    assert nothing == [b"temp/a/1"]


def test_a_hold_that_would_end_in_the_past_is_an_error(manager: StorageManager) -> None:
    """It would protect nothing, and whoever asked for it would not know."""
    with pytest.raises(UsageError, match="past"):
        manager.hold("temp", until=LONG_AGO)


def test_a_lease_protects_what_does_not_exist_yet_and_ends_with_its_block(manager: StorageManager) -> None:
    """A job takes its directory before it makes it."""
    with manager.lease("temp/job-17", ttl="1h"):
        path = manager.store.root / "temp/job-17/frame"
        path.parent.mkdir()
        path.write_text("new")
        os.utime(path, (LONG_AGO, LONG_AGO))
        assert "temp/job-17/frame" not in planned(manager)
        assert manager.plan()["kept"] == {"leased": 1}
    assert "temp/job-17/frame" in planned(manager)


def test_a_lease_renews_itself_and_a_crash_ends_it_at_its_ttl(manager: StorageManager) -> None:
    """Whoever holds it moves its end; once nobody does, time alone releases it."""
    now = [time.time()]
    lease = Lease(manager.store, b"temp", ttl=3600, holder="test", clock=lambda: now[0])
    with lease:
        now[0] += 3000
        assert lease.renew()
        with Ledger.open(manager.store.ledger_path, read_only=True) as ledger:
            assert ledger.protection(now[0] + 3500).blocker(b"temp/5") == "leased"
            assert ledger.protection(now[0] + 3700).blocker(b"temp/5") is None


def test_a_hold_returns_only_when_no_removal_that_covers_it_is_in_flight(
    manager: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has announced the file is waited for: afterwards the file is either gone or safe, never going."""
    manager.scan()
    entered, go = threading.Event(), threading.Event()

    def pause(window: str, _name: bytes = b"") -> None:
        if window == "ledger.after" and not entered.is_set():
            entered.set()
            assert go.wait(60)

    monkeypatch.setattr(hooks, "at", pause)
    run = threading.Thread(target=manager.run_cleanup)
    run.start()
    assert entered.wait(60)
    returned = threading.Event()

    def hold() -> None:
        manager.hold("temp/a")
        returned.set()

    holder = threading.Thread(target=hold)
    holder.start()
    while True:  # the hold is recorded before it waits
        with Ledger.open(manager.store.ledger_path, read_only=True) as ledger:
            if ledger.holds(time.time()):
                break
    assert not returned.is_set()
    go.set()
    assert returned.wait(60)
    run.join()
    holder.join()
    assert {path for path in left(manager) if path.startswith("temp/a")} == {"temp/a/1", "temp/a/2"}
