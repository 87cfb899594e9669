"""Watchdog's own observer as a source of hints: what it sees, how it settles, how it admits a gap."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from indexer.events import CHANGED, ROOT_ID, Barrier, Batch, Rescan
from indexer.watch import native
from indexer.watch.native import NativeWatcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE = 20.0


class Clock:
    """A monotonic clock that a test winds on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Say the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Time stands still until a test winds it."""
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make an empty store's root with its control directory."""
    (tmp_path / ".indexer" / "cookies").mkdir(mode=0o700, parents=True)
    return tmp_path


@pytest.fixture
def watcher(root: Path, clock: Clock) -> Iterator[NativeWatcher]:
    """Watch `root`."""
    watcher = NativeWatcher(root, root / ".indexer", clock=lambda: 1_700_000_000.0, period=900, monotonic=clock)
    watcher.start()
    yield watcher
    watcher.stop()


def settled(watcher: NativeWatcher, barrier: Barrier | None = None) -> Batch:
    """Take until a barrier rides; return all that came, merged."""
    barrier = barrier or watcher.barrier()
    whole = Batch(0)
    for _ in range(1000):
        batch = watcher.take(DEADLINE / 100)
        for directory, names in batch.hints.items():
            for name, kinds in names.items():
                whole.hint(directory, name, kinds)
        whole.rescans += batch.rescans
        whole.barriers += batch.barriers
        if barrier in batch.barriers:
            return whole
    raise AssertionError("the cookie did not come through")


ASKED = Rescan(ROOT_ID, tree=True, reason="requested")
"""What a barrier brings along: watchdog's idea of where directories are is not relied upon."""


def test_a_place_for_cookies_is_made(tmp_path: Path) -> None:
    """Of the control directory nobody else makes it; what proves that the observer hears costs no look at the tree."""
    (tmp_path / ".indexer").mkdir(mode=0o700)
    watcher = NativeWatcher(tmp_path, tmp_path / ".indexer", clock=lambda: 0.0)
    watcher.start()
    try:
        canary = watcher.cookie()
        assert canary is not None
        batch = Batch(0)
        while canary not in batch.barriers:
            batch = watcher.take(DEADLINE)
            assert batch.rescans == []
    finally:
        watcher.stop()


def test_changes_become_hints_by_directory_path(root: Path, watcher: NativeWatcher) -> None:
    """Create, write, rename, chmod and delete are each a hint on (directory, name); order and number do not matter."""
    (root / "jobs").mkdir()
    assert settled(watcher).hints == {"": {b"jobs": CHANGED}}
    (root / "jobs" / "a").write_bytes(b"1")
    os.rename(root / "jobs" / "a", root / "b")
    os.chmod(root / "b", 0o600)
    os.unlink(root / "b")
    batch = settled(watcher)
    assert batch.hints == {"": {b"b": CHANGED}, "jobs": {b"a": CHANGED}}
    assert batch.rescans == [ASKED]


def test_undecodable_names_keep_their_bytes(root: Path, watcher: NativeWatcher) -> None:
    """A name is bytes: one that is not UTF-8 arrives unchanged."""
    name = os.path.join(os.fsencode(root), b"caf\xe9\n")
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    assert settled(watcher).hints == {"": {b"caf\xe9\n": CHANGED}}


def test_control_directory_is_not_reported(root: Path, watcher: NativeWatcher) -> None:
    """What happens in the control directory, cookies included, is no hint and leaves nothing behind."""
    (root / ".indexer" / "index.db").write_bytes(b"x")
    assert settled(watcher).hints == {}
    assert os.listdir(root / ".indexer" / "cookies") == []


def test_a_barrier_without_a_place_for_cookies_rides_behind_a_rescan(tmp_path: Path) -> None:
    """State on another filesystem: the barrier then costs a look at everything, and never lies."""
    root, elsewhere = tmp_path / "root", tmp_path / "state"
    root.mkdir()
    elsewhere.mkdir()
    watcher = NativeWatcher(root, elsewhere, clock=lambda: 0.0)
    watcher.start()
    try:
        batch = settled(watcher)
    finally:
        watcher.stop()
    assert batch.rescans == [Rescan(ROOT_ID, tree=True, reason="no_cookie")]


def test_everything_is_looked_at_again_periodically(watcher: NativeWatcher, clock: Clock) -> None:
    """Misses cannot be noticed, so a rescan of everything comes each period, and the reason says so."""
    clock.now += 899
    assert watcher.take(0).rescans == []
    clock.now += 1
    assert watcher.take(0).rescans == [Rescan(ROOT_ID, tree=True, reason="periodic")]
    assert watcher.take(0).rescans == []
    assert "every 15 minutes" in watcher.reason


def test_overflow_that_watchdog_only_logs_becomes_a_rescan(watcher: NativeWatcher) -> None:
    """One rescan at once, so that the state is not clean; another behind a cookie, once the watches are rebuilt."""
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; filesystem events were lost")
    batch = settled(watcher)
    assert batch.rescans == [*[Rescan(ROOT_ID, tree=True, reason="overflow")] * 2, ASKED]
    assert watcher.counters.overflows == 1
    assert watcher.alive()


def test_a_cookie_that_does_not_come_through_is_a_dead_observer(watcher: NativeWatcher, clock: Clock) -> None:
    """A living thread proves nothing: without its cookie within the time the watcher says that it is dead."""
    watcher._waiting["never written"] = (Barrier(), clock.now)
    clock.now += native.PATIENCE
    watcher.take(0)
    assert watcher.alive()
    clock.now += 1
    watcher.take(0)
    assert not watcher.alive()


def test_an_observer_whose_books_contradict_themselves_is_stopped_all_the_same(
    watcher: NativeWatcher,
) -> None:
    """Directories that are exchanged confuse watchdog (7.1): its stop fails half way, and no thread may stay behind."""
    assert watcher._observer is not None
    (emitter,) = watcher._observer.emitters
    (group,) = [vars(emitter).get("_inotify")]
    if group is None:
        pytest.skip("watchdog's observer is another one on this platform")
    group._active_callbacks_by_path.clear()
    threads = {emitter, watcher._observer, watcher._observer._inotify_fd}  # type: ignore[attr-defined]
    watcher.stop()
    assert not any(thread.is_alive() for thread in threads)


def test_a_removed_root_kills_the_observer(tmp_path: Path) -> None:
    """Watchdog's emitter ends silently with the root; alive() tells."""
    root = tmp_path / "root"
    root.mkdir()
    watcher = NativeWatcher(root, tmp_path, clock=lambda: 0.0)
    watcher.start()
    try:
        assert watcher.alive()
        os.rmdir(root)
        for emitter in list(watcher._observer.emitters if watcher._observer else []):
            emitter.join(DEADLINE)
        assert not watcher.alive()
    finally:
        watcher.stop()


def test_a_writer_that_stands_still_costs_bounded_memory(
    root: Path, watcher: NativeWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More names than the limit become one listing of their directory."""
    monkeypatch.setattr(native, "PENDING_LIMIT", 10)
    for number in range(30):
        (root / f"f{number}").write_bytes(b"")
    batch = settled(watcher)
    assert Rescan("", tree=False, reason="folded") in batch.rescans
    assert watcher.counters.folded >= 1
    assert sum(map(len, batch.hints.values())) <= 30
