"""A transaction that fails leaves nothing behind: the same batch again later, and nothing is lost."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indexer.errors import IndexDatabaseError
from indexer.events import ROOT_ID, Batch, Rescan
from indexer.index import ahead
from indexer.index.apply import Index
from indexer.index.backlog import Listing
from indexer.index.database import connect_writer
from indexer.index.migrate import VERSION
from indexer.index.queries import Reader
from indexer.rules import Rule
from tests.index.rig import Rig
from tests.trees import HardLink, Node, make

try:
    from pysqlite3 import dbapi2 as driver
except ImportError:
    import sqlite3 as driver

FAILURES = (driver.DatabaseError, IndexDatabaseError)

HOT = Rule("hot", ("hot/**",), exclude=("hot/keep/**",), ttl=1)
COLD = Rule("cold", ("cold/**",), ttl=1, clocks=("atime", "mtime"))

TREE: dict[str, Node] = {
    "hot": {"job": {f"{number}": b"x" * number for number in range(30)}, "a": b"1", "keep": {"k": b"2"}},
    "cold": {"linked": HardLink("hot/a"), "deep": {"er": {"f": b"3"}}},
    "loose": b"4",
}


def surgery(root: Path) -> list[str]:
    """Do a bit of everything; return the names that were touched."""
    (root / "hot" / "job").rename(root / "cold" / "job")
    (root / "hot" / "keep").rename(root / "hot" / "kept")
    (root / "cold" / "deep").rename(root / "hot" / "deep")
    (root / "hot" / "a").rename(root / "loose2")
    os.link(root / "loose2", root / "hot" / "again")
    (root / "loose").unlink()
    make(root, {"hot": {"new": {"one": b"1", "two": {"three": b"22"}}}, "loose": {"now": {"a": b"directory"}}})
    return [
        *("hot/job", "cold/job", "hot/keep", "hot/kept", "cold/deep", "hot/deep", "hot/a", "loose2", "hot/again"),
        *("loose", "hot/new", "hot/new/one"),
    ]


class Fault:
    """Interrupts SQLite at a chosen step, once."""

    def __init__(self, index: Index, at: int, every: int) -> None:
        self._left = at
        self.struck = False
        index.connection.set_progress_handler(self._step, every)

    def _step(self) -> int:
        self._left -= 1
        if self._left == 0:
            self.struck = True
            return 1
        return 0


def patiently(rig: Rig, batch: Batch, budget: int = 5_000) -> None:
    """Apply a batch, a second time when the first fails, as the service does."""
    try:
        rig.index.apply(batch, budget)
    except FAILURES:
        rig.index.apply(batch, budget)


def settle(rig: Rig, budget: int) -> None:
    """Let the index do the rest in small portions."""
    for _ in range(500):
        if rig.index.settled:
            return
        patiently(rig, Batch(rig.now), budget)
    raise AssertionError("not settled")


@pytest.mark.parametrize("walker", [False, True], ids=["alone", "with a walker"])
def test_a_failure_at_any_step_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, walker: bool) -> None:
    """Interrupted at every n-th step of SQLite's machine, a first scan and what follows end as if nothing had been."""
    if walker:
        monkeypatch.setattr(ahead, "WORTH_A_WALKER", -1)
    every, at, struck = (500 if walker else 150), 1, True
    while struck:
        folder = tmp_path / f"{at}"
        folder.mkdir()
        with Rig(folder, None, [HOT, COLD]) as rig:
            make(rig.root, TREE)
            fault = Fault(rig.index, at, every)
            rig.index.parallel = walker
            rig.index.request_rescan(Rescan(ROOT_ID, reason="first"))
            settle(rig, budget=20)
            names = surgery(rig.root)
            patiently(rig, rig.batch(*names[:6], drained=False))
            patiently(rig, rig.batch(*names[6:]))
            settle(rig, budget=10)
            rig.index.connection.set_progress_handler(None, 0)
            assert (rig.wrong(), rig.misclassified()) == ({}, {}), at
            assert (rig.index.complete, rig.index.pass_running, rig.index.bulk) == (True, None, False), at
        struck = fault.struck
        at += 1
    assert at > 10


@contextmanager
def refusing_commits(index: Index) -> Iterator[None]:
    """Let every COMMIT fail, as a full disk does: with a write-ahead log that is where the pages are written."""

    def ask(action: int, first: str | None, *_: object) -> int:
        deny = action == driver.SQLITE_TRANSACTION and first == "COMMIT"
        return int(driver.SQLITE_DENY if deny else driver.SQLITE_OK)

    index.connection.set_authorizer(ask)
    try:
        yield
    finally:
        index.connection.set_authorizer(None)


@pytest.mark.parametrize("reason", ["first", "verify"])
def test_a_pass_whose_last_commit_fails_is_ended_by_the_next(tmp_path: Path, reason: str) -> None:
    """`complete`, the counters and the end of the pass are decided again."""
    with Rig(tmp_path, None, [HOT, COLD]) as rig:
        make(rig.root, TREE)
        rig.index.request_rescan(Rescan(ROOT_ID, reason="first"))
        if reason == "verify":
            settle(rig, 5_000)
            rig.now += 100
            rig.index.request_rescan(Rescan(ROOT_ID, reason="verify"), verify=True)
        for _ in range(3):
            with refusing_commits(rig.index), pytest.raises(FAILURES):
                rig.turn()
            assert (rig.index.pass_running, rig.index.settled) == (reason, False)
        rig.settle()
        assert (rig.index.pass_running, rig.index.complete) == (None, True)
        assert rig.index.meta.get("last_reconcile") == str(int(rig.now))
        assert (rig.wrong(), rig.misclassified()) == ({}, {})


def test_a_reclassification_whose_commit_fails_is_done_again(tmp_path: Path) -> None:
    """A directory moved to another class; the transaction that recomputed its files fails."""
    with Rig(tmp_path, TREE, [HOT, COLD]) as rig:
        (rig.root / "hot" / "job").rename(rig.root / "cold" / "job")
        with refusing_commits(rig.index), pytest.raises(FAILURES):
            rig.index.apply(rig.batch("hot/job", "cold/job"))
        rig.changed("hot/job", "cold/job")
        assert (rig.wrong(), rig.misclassified()) == ({}, {})
        rig.rules = (COLD, HOT)
        rig.rules = (Rule("all", ("**",), ttl=1), *rig.rules)
        rig.reopen()
        for _ in range(3):
            with refusing_commits(rig.index), pytest.raises(FAILURES):
                rig.turn(budget=5)
            rig.turn(budget=5)
        rig.settle()
        assert rig.misclassified() == {}


def test_a_listing_below_a_dropped_directory_survives_a_failure(tmp_path: Path) -> None:
    """The drop was rolled back, then somebody claimed the directory: what was to be listed below still is."""
    with Rig(tmp_path, {"old": {"known": {}}}) as rig:
        make(rig.root, {"old": {"known": {"unlisted": {"f": b"1"}}}})
        rig.apply("old/known/unlisted")  # in the backlog
        (rig.root / "old").rename(rig.root / "new")
        rig.index.backlog.push(Listing(ROOT_ID, tree=False), verify=True)
        _only_verification_waits(rig)
        rig.apply("old", drained=False)
        with refusing_commits(rig.index), pytest.raises(FAILURES):
            rig.apply()
        rig.changed("new")
        assert rig.wrong() == {}


def _only_verification_waits(rig: Rig) -> None:
    """Turn what waits into mere verification."""
    while rig.index.backlog.urgent:
        taken = rig.index.backlog.take()
        assert taken is not None
        rig.index.backlog.push(taken[0], verify=True)


@pytest.mark.parametrize("room", ["statement", "commit"])
def test_a_full_disk_is_waited_for(tmp_path: Path, mount: Callable[..., Path], room: str) -> None:
    """The index on a disk without room: the apply fails, and the same batch succeeds when there is room again."""
    state = mount("tmpfs", size=2)
    (tmp_path / "state").symlink_to(state)
    with Rig(tmp_path, TREE, [HOT, COLD]) as rig:
        make(rig.root, {"many": {f"some rather long name to need room {number}": b"" for number in range(4_000)}})
        names = [*surgery(rig.root), "many"]
        batch = rig.batch(*names)
        pages = rig.value("PRAGMA page_count")
        if room == "statement":
            rig.execute(f"PRAGMA max_page_count = {pages + 2}")
        else:
            _fill(state / "ballast")
        with pytest.raises(driver.OperationalError, match="full"):
            rig.index.apply(batch, 100_000)
        with pytest.raises(driver.OperationalError, match="full"):
            rig.index.apply(batch, 100_000)
        if room == "statement":
            rig.execute(f"PRAGMA max_page_count = {2**30}")
        else:
            (state / "ballast").unlink()
        rig.index.apply(batch, 100_000)
        rig.settle()
        assert (rig.wrong(), rig.misclassified()) == ({}, {})


def _fill(path: Path) -> None:
    """Use up all room of a filesystem."""
    with open(path, "wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"x" * 65536)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def test_a_failed_transaction_forgets_no_watch(tmp_path: Path) -> None:
    """The watcher is told that a directory is gone only after that is written."""
    with Rig(tmp_path, TREE) as rig:
        (rig.root / "cold").rename(tmp_path / "away")
        rig.apply("cold")
        with refusing_commits(rig.index), pytest.raises(FAILURES):
            rig.apply()
        assert [call for call, _ in rig.watcher.calls if call == "forget"] == []
        rig.settle()
        assert len([call for call, _ in rig.watcher.calls if call == "forget"]) == 3


@pytest.mark.parametrize(
    "content",
    [b"this is not a database, and long enough to be read as one" * 100, b"SQLite format 3\0" + b"\xff" * 8000],
)
def test_a_file_that_is_no_index_is_an_error_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    """The writer and a reader say the same; the file is left as it is."""
    path = tmp_path / "index.db"
    path.write_bytes(content)
    for opener in (connect_writer, Reader.open):
        with pytest.raises(IndexDatabaseError) as caught:
            opener(path)
        assert "db rebuild" in caught.value.remedy
    assert path.read_bytes() == content


def test_damage_in_the_middle_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    """Pages overwritten under a running writer: no half truth is written over it."""
    with Rig(tmp_path, {f"d{number}": {"f": b"1"} for number in range(300)}) as rig:
        rig.reopen()
        size = rig.path.stat().st_size
        with open(rig.path, "r+b") as stream:
            stream.seek(4096)
            stream.write(b"\xff" * (size - 4096))
        with pytest.raises(IndexDatabaseError, match="damaged") as caught:
            rig.verify()
        assert "db rebuild" in caught.value.remedy


def test_an_index_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    """Nothing is changed in it, and the remedy names both ways out."""
    with Rig(tmp_path, TREE) as rig:
        rig.execute("PRAGMA user_version = 1000")
        rig.close()
        before = rig.path.read_bytes()
        for opener in (connect_writer, Reader.open):
            with pytest.raises(IndexDatabaseError, match="schema 1000") as caught:
                opener(rig.path)
            assert "upgrade indexer" in caught.value.remedy
        assert rig.path.read_bytes() == before
        connection = sqlite3.connect(rig.path)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.close()
        rig.open()


@pytest.mark.parametrize("broken", [b"not a database at all" * 1000, None])
def test_an_index_that_cannot_be_opened_leaves_no_descriptor(tmp_path: Path, broken: bytes | None) -> None:
    """A service tries again and again: each try closes what it opened."""
    with Rig(tmp_path, TREE) as rig:
        rig.close()
        if broken is None:
            connection = sqlite3.connect(rig.path)
            connection.execute("DROP TABLE class")
            connection.close()
        else:
            rig.path.write_bytes(broken)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises((IndexDatabaseError, driver.OperationalError)):
                rig.open()
            for fd in rig.fds:
                os.close(fd)
            rig.fds = []
        assert len(os.listdir("/proc/self/fd")) == before
        rig.path.unlink()
        rig.open()


def test_a_batch_s_descriptors_are_closed_whatever_happens(tmp_path: Path) -> None:
    """Also those of a transaction that failed: they would pin mounts."""
    with Rig(tmp_path, TREE) as rig:
        before = len(os.listdir("/proc/self/fd"))
        names = surgery(rig.root)
        with refusing_commits(rig.index), pytest.raises(FAILURES):
            rig.index.apply(rig.batch(*names))
        assert len(os.listdir("/proc/self/fd")) == before
        rig.changed(*names)
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_lost_name_of_an_inode_is_remembered_through_a_failure(tmp_path: Path) -> None:
    """A further name came and went unseen, and the transaction that drew the conclusion failed."""
    with Rig(tmp_path, {"a": b"1", "d": {}}) as rig:
        os.link(rig.root / "a", rig.root / "d" / "unseen")
        rig.changed("a")
        (rig.root / "d" / "unseen").unlink()
        batch = rig.batch("d/unseen")
        with refusing_commits(rig.index), pytest.raises(FAILURES):
            rig.index.apply(batch)
        rig.index.apply(batch)
        rig.settle()
        assert rig.wrong() == {}


def test_a_directory_that_an_earlier_commit_dropped_is_dropped_once(tmp_path: Path) -> None:
    """A COMMIT can fail after it has committed, in the checkpoint that follows: what is in limbo then has no row."""
    with Rig(tmp_path, TREE) as rig:
        gone = rig.value("SELECT max(id) FROM directory") + 1
        rig.index._limbo._since[gone] = 0
        rig.settle()
        assert ("forget", gone) in rig.watcher.calls
        assert rig.wrong() == {}
