"""The writer's loop, with a scripted watcher and a real index: no kernel needed."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from indexer.errors import IndexDatabaseError, NoStoreError
from indexer.events import CHANGED, ROOT_ID, Batch, Rescan
from indexer.index.apply import Index
from indexer.index.backlog import Backlog, Listing
from indexer.index.classes import Policy
from indexer.index.directories import Filesystem
from indexer.service import daemon, loop
from indexer.service.daemon import Service, Session
from indexer.service.supervise import Canary, RootWatch, Supervisor
from indexer.syscalls.stat import stat_fd
from tests.fakes import ScriptedWatcher

DEADLINE = 20.0
NOW = 1_700_000_000.0


class Rig:
    """A store on disk, a scripted watcher, and a service in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.state = folder / "state"
        self.state.mkdir()
        self.watchers: list[ScriptedWatcher] = []
        self.indexes: list[Index] = []
        self.opened = threading.Semaphore(0)
        self.ready = threading.Event()
        self.open_error: Exception | None = None
        self.canary = False
        self.sabotage: Callable[[Index], None] = lambda _: None
        self.service = Service(self.session, on_ready=self.ready.set, clock=lambda: NOW)
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.service.run()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.failure = error

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open watcher and index as the real one does."""
        if self.open_error is not None:
            raise self.open_error
        fd = os.open(self.root, os.O_RDONLY)
        filesystem = Filesystem(1, fd, stat_fd(fd).dev, 0)
        watcher = ScriptedWatcher()
        watcher.start()
        index = Index(self.state / "index.db", [filesystem], policy=Policy(), watcher=watcher, now=NOW)
        self.sabotage(index)
        self.watchers.append(watcher)
        self.indexes.append(index)
        self.opened.release()
        try:
            canary = Canary(self.root, watcher) if self.canary else None
            yield Session(watcher, index, Supervisor(watcher, RootWatch(self.root, fd), canary))
        finally:
            index.close()
            os.close(fd)

    def __enter__(self) -> Self:
        self.thread.start()
        assert self.ready.wait(DEADLINE), self.failure
        return self

    def __exit__(self, *_: object) -> None:
        self.service.stop()
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()

    @property
    def watcher(self) -> ScriptedWatcher:
        """The current session's."""
        return self.watchers[-1]

    def settle(self) -> None:
        """Wait for the barrier."""
        assert self.service.settle(DEADLINE)

    def sizes(self) -> dict[str, int]:
        """Return what a reader finds in the index: name -> bytes."""
        with closing(sqlite3.connect(f"file:{self.state / 'index.db'}?mode=ro", uri=True)) as connection:
            return dict(connection.execute("SELECT name, size FROM file"))

    def names(self) -> list[str]:
        """Return the names in the index."""
        return sorted(self.sizes())

    def until(self, wanted: Callable[[], object]) -> None:
        """Go on once `wanted` is true, which the writer's published state tells."""
        assert _await(wanted), (self.service.board.snapshot, self.failure)


def _await(wanted: Callable[[], object]) -> bool:
    waiting = threading.Event()
    for _ in range(int(DEADLINE / 0.01)):
        if wanted():
            return True
        waiting.wait(0.01)
    return False


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Return a rig that was not started yet; back-off is short."""
    monkeypatch.setattr(daemon, "FIRST_DELAY", 0.01)
    return Rig(tmp_path)


def test_a_first_scan_a_hint_and_a_clean_state(rig: Rig) -> None:
    """What is there before is scanned, what is hinted is stat'ed, and the state is clean once nothing waits."""
    (rig.root / "old").write_bytes(b"1")
    with rig:
        (rig.root / "new").write_bytes(b"2")
        (rig.root / "unseen").write_bytes(b"3")
        rig.watcher.hint(ROOT_ID, b"new", CHANGED)
        rig.settle()
        assert rig.names() == ["new", "old"]
        assert rig.service.board.snapshot.state == "clean"
        assert rig.service.board.snapshot.last_event == int(NOW)
    assert rig.failure is None


def test_a_stop_applies_what_the_kernel_holds_and_ends_cleanly(rig: Rig) -> None:
    """SIGTERM: drain, commit, end. A hint that waits when the stop comes is in the index afterwards."""
    with rig:
        (rig.root / "late").write_bytes(b"")
        batch = Batch(NOW, events=1)
        batch.hint(ROOT_ID, b"late", CHANGED)
        rig.service.stop()
        rig.watcher.play(batch)
    assert rig.names() == ["late"]
    assert rig.failure is None


def test_a_restart_finds_what_happened_meanwhile(rig: Rig) -> None:
    """A quick pass before ready finds new names; verification behind it finds what directory times do not tell."""
    (rig.root / "a").write_bytes(b"1")
    with rig:
        rig.settle()
    (rig.root / "b").write_bytes(b"")
    os.truncate(rig.root / "a", 7)
    again = Rig.__new__(Rig)
    again.__dict__.update(rig.__dict__)
    again.ready = threading.Event()
    again.service = Service(again.session, on_ready=again.ready.set, clock=lambda: NOW)
    again.thread = threading.Thread(target=again._run)
    with again:
        assert again.names() == ["a", "b"]
        again.settle()
        assert again.sizes() == {"a": 7, "b": 0}


def _disk_full_once_ready(failures: list[Exception]) -> Callable[[Index], None]:
    def sabotage(index: Index) -> None:
        apply = index.apply

        def failing(batch: Batch, budget: int = 5_000) -> Any:
            if batch.hints and failures:
                raise failures[-1]
            return apply(batch, budget)

        index.apply = failing  # type: ignore[method-assign]

    return sabotage


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (sqlite3.OperationalError("database or disk is full"), "disk_full"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (sqlite3.OperationalError("disk I/O error"), "index_error"),
        (OSError(errno.EMFILE, "Too many open files"), "no_resources"),
    ],
)
def test_a_batch_that_cannot_be_written_is_kept(rig: Rig, failure: Exception, reason: str) -> None:
    """Disk full: degraded, no settle answers, the batch is tried again until it is in the index."""
    failures = [failure]
    rig.sabotage = _disk_full_once_ready(failures)
    with rig:
        (rig.root / "a").write_bytes(b"")
        rig.watcher.hint(ROOT_ID, b"a", CHANGED)
        rig.until(lambda: rig.service.board.snapshot.reasons == (reason,))
        degraded = rig.service.board.snapshot
        assert degraded.state == "degraded"
        assert degraded.pending >= 1
        assert not rig.service.settle(0.05)
        failures.clear()
        rig.settle()
        assert rig.names() == ["a"]
        assert rig.service.board.snapshot.state == "clean"


def test_a_damaged_index_ends_the_service(rig: Rig) -> None:
    """Waiting does not mend damage: the error, with its remedy, reaches whoever runs the service."""
    rig.sabotage = _disk_full_once_ready([IndexDatabaseError("damaged", remedy="rebuild it")])
    with rig:
        rig.watcher.hint(ROOT_ID, b"a", CHANGED)
        rig.thread.join(DEADLINE)
    assert isinstance(rig.failure, IndexDatabaseError)


def test_a_row_that_contradicts_another_costs_a_session_not_the_service(rig: Rig) -> None:
    """A defect of ours: logged with its trace, degraded, and mended by looking at everything again."""
    failures: list[Exception] = [sqlite3.IntegrityError("UNIQUE constraint failed: file.directory_id, file.name")]
    rig.sabotage = _disk_full_once_ready(failures)
    with rig:
        rig.until(lambda: rig.opened.acquire(blocking=False))
        (rig.root / "a").write_bytes(b"")
        rig.watcher.hint(ROOT_ID, b"a", CHANGED)
        rig.until(lambda: rig.opened.acquire(blocking=False))
        failures.clear()
        rig.settle()
        assert rig.names() == ["a"]
    assert rig.failure is None


def test_nobody_waits_for_a_service_that_has_failed(rig: Rig) -> None:
    """Its writer ended with an error: a settle answers no, at once."""
    rig.sabotage = _disk_full_once_ready([IndexDatabaseError("damaged", remedy="rebuild it")])
    with rig:
        rig.watcher.hint(ROOT_ID, b"a", CHANGED)
        rig.thread.join(DEADLINE)
        assert not rig.service.settle(DEADLINE)
        assert not rig.thread.is_alive()


def test_a_dead_emitter_is_replaced_and_everything_verified(rig: Rig) -> None:
    """A gap: a new watcher, a quick pass, and what happened unseen is in the index without any hint."""
    with rig:
        rig.until(lambda: rig.opened.acquire(blocking=False))
        (rig.root / "unseen").write_bytes(b"")
        rig.watcher.die()
        rig.until(lambda: rig.opened.acquire(blocking=False))
        rig.settle()
        assert rig.names() == ["unseen"]
        assert rig.service.board.snapshot.state == "clean"
    assert len(rig.watchers) == 2


def test_settle_survives_a_gap(rig: Rig) -> None:
    """Who waits while the watcher dies waits for the next one, and is answered by it."""
    with rig:
        rig.until(lambda: rig.opened.acquire(blocking=False))
        rig.watcher.mute = True
        answer: list[bool] = []
        waiting = threading.Thread(target=lambda: answer.append(rig.service.settle(DEADLINE)))
        waiting.start()
        (rig.root / "x").write_bytes(b"")
        rig.until(lambda: rig.watcher._barriers)
        rig.watcher.die()
        waiting.join(DEADLINE)
        assert answer == [True]
        assert rig.names() == ["x"]


def test_a_settle_after_a_gap_waits_for_the_verification(rig: Rig) -> None:
    """What was written in place during the gap changes no directory: only verifying every file finds it."""
    (rig.root / "a").write_bytes(b"1")
    with rig:
        rig.until(lambda: rig.opened.acquire(blocking=False))
        rig.settle()
        os.truncate(rig.root / "a", 9)
        rig.watcher.die()
        rig.until(lambda: rig.opened.acquire(blocking=False))
        rig.settle()
        assert rig.sizes() == {"a": 9}


def test_a_stopped_service_settles_nothing(rig: Rig) -> None:
    """Asked after its end, or while it ends: the answer is no, at once."""
    with rig:
        rig.settle()
    assert not rig.service.settle(DEADLINE)


def test_a_deaf_watcher_is_found_out_by_the_canary(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread lives and answers barriers, but the kernel reports nothing: only the end-to-end song tells."""
    monkeypatch.setattr("indexer.service.supervise.CANARY_PERIOD", 0.0)
    rig.canary = True
    with rig:
        rig.until(lambda: rig.opened.acquire(blocking=False))
        (rig.root / "unheard").write_bytes(b"")
        rig.watcher.deaf = True
        rig.until(lambda: rig.opened.acquire(blocking=False))
        rig.settle()
        assert rig.names() == ["unheard"]


def test_a_root_that_went_away_is_not_an_empty_tree(rig: Rig) -> None:
    """Renamed away: degraded, no row is deleted. Back again: verified, and clean."""
    (rig.root / "a").write_bytes(b"")
    with rig:
        rig.until(lambda: rig.opened.acquire(blocking=False))
        rig.settle()
        rig.open_error = NoStoreError("there is no store")
        away = rig.root.rename(rig.root.with_name("away"))
        rig.until(lambda: rig.service.board.snapshot.reasons == ("root_missing",))
        assert rig.names() == ["a"]
        away.rename(rig.root)
        (rig.root / "b").write_bytes(b"")
        rig.open_error = None
        rig.until(lambda: rig.opened.acquire(blocking=False))
        rig.settle()
        assert rig.names() == ["a", "b"]
        assert rig.service.board.snapshot.reasons == ()


@pytest.mark.parametrize(("content", "reason"), [((), "root_missing"), (("stranger",), "root_changed")])
def test_another_directory_in_the_roots_place_changes_no_row(rig: Rig, content: tuple[str, ...], reason: str) -> None:
    """An empty one looks like a mount point without its mount; one with files is somebody else's."""
    (rig.root / "a").write_bytes(b"")
    with rig:
        rig.settle()
        rig.open_error = NoStoreError("another store")
        rig.root.rename(rig.root.with_name("away"))
        rig.root.mkdir()
        for name in content:
            (rig.root / name).write_bytes(b"")
        rig.until(lambda: rig.service.board.snapshot.state == "degraded")
        # between the two steps above the service may have looked at a missing root: then that is what it says
        assert set(rig.service.board.snapshot.reasons) & {reason, "root_missing"}
        assert rig.names() == ["a"]


def test_a_store_that_never_opened_is_an_error_not_a_wait(rig: Rig) -> None:
    """At the start there is nothing to be loyal to: the error is the answer."""
    rig.open_error = NoStoreError("there is no store here")
    rig.thread.start()
    rig.thread.join(DEADLINE)
    assert isinstance(rig.failure, NoStoreError)


def test_requests_are_done_by_the_writer(rig: Rig) -> None:
    """A scan that somebody asks for is posted, and its barrier opens once the backlog is empty."""
    with rig:
        rig.settle()
        (rig.root / "unseen").write_bytes(b"")
        barrier = rig.service.post(lambda index: index.request_rescan(Rescan(ROOT_ID, reason="requested")))
        assert barrier.wait(DEADLINE)
        assert rig.names() == ["unseen"]


class FakeIndex:
    """What the loop asks of an index: one directory waits to be verified."""

    busy = True
    complete = True
    unsettled = unproven = False

    def __init__(self) -> None:
        self.backlog = Backlog()
        self.backlog.push(Listing(ROOT_ID, tree=True), verify=True)


class Steps:
    """A monotonic clock and the waits that the loop chose by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float | None] = []

    def take(self, timeout: float | None) -> Batch:
        """Note how long the loop would wait."""
        self.waits.append(timeout)
        return Batch(NOW)


def test_verification_rests_unless_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mere verification rests as long as it worked; it rests no more while somebody waits for it."""
    watcher, steps, stop, hurry, index = ScriptedWatcher(), Steps(), threading.Event(), threading.Event(), FakeIndex()
    monkeypatch.setattr(watcher, "take", steps.take)
    monkeypatch.setattr(loop, "DRAIN_SECONDS", 0.0)
    turns = loop.batches(watcher, index, stop, hurried=hurry.is_set, monotonic=lambda: steps.now)  # type: ignore[arg-type]
    next(turns)
    steps.now += 0.1  # the work of this turn
    next(turns)
    hurry.set()
    steps.now += 0.1
    next(turns)
    hurry.clear()
    index.backlog.push(Listing(2, tree=True))
    next(turns)
    stop.set()
    assert list(turns) == []
    assert steps.waits == [0.0, pytest.approx(0.1), 0.0, 0.0]


def test_at_rest_the_loop_wakes_seldom_and_on_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """What raises no event is looked for soon after something happened, and less and less often while nothing does."""
    watcher, steps, stop, index = ScriptedWatcher(), Steps(), threading.Event(), FakeIndex()
    index.busy = False
    heard = [Batch(NOW), Batch(NOW), Batch(NOW), Batch(NOW, rescans=[Rescan(ROOT_ID)]), Batch(NOW)]
    expected = [False]

    def take(timeout: float | None) -> Batch:
        steps.take(timeout)
        steps.now += timeout or 0.0
        return heard.pop(0)

    monkeypatch.setattr(watcher, "take", take)
    steps.now = 100.25
    turns = loop.batches(watcher, index, stop, expecting=lambda: expected[0], monotonic=lambda: steps.now)  # type: ignore[arg-type]
    for _ in range(3):
        next(turns)
    assert (steps.waits, steps.now) == ([0.0, 0.5, 1.0], 101.75)
    next(turns)
    assert (steps.waits[-1], steps.now) == (0.25, 102.0)
    expected[0] = True
    next(turns)
    assert steps.waits[-1] == loop.IDLE


def test_requests_and_a_stop_wait_for_no_turn(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer sleeps until something is due, an hour here; what is asked of it is done now."""
    with rig:
        rig.settle()
        monkeypatch.setattr(loop, "IDLE", 3600.0)
        rig.watcher.play(Batch(NOW, rescans=[Rescan(ROOT_ID)]))
        rig.settle()
        taken = rig.watcher.taken
        done = threading.Event()
        rig.service.post(lambda _index: done.set(), hurry=False)
        assert done.wait(DEADLINE)
        rig.until(lambda: rig.watcher.taken > taken)
