"""The index told by inotify: every directory is watched before it is looked at, none after it has left."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from indexer.events import ROOT_ID, Rescan
from indexer.syscalls import inotify as kernel
from indexer.watch import inotify
from indexer.watch.inotify import InotifyWatcher
from tests.capabilities import needs
from tests.index.rig import NOW
from tests.queues import short_queue
from tests.trees import HardLink, Node
from tests.users import NOBODY, do_as, do_within
from tests.watch.live import Live
from tests.watch.test_inotify import overflow, refuse

TREE: dict[str, Node] = {
    "a": {"b": {"c": {"deep": b"1"}}, "file": b"22"},
    "d": {"file": b"333"},
    "top": b"4444",
}


def churn(root: Path, rounds: int = 10) -> None:
    """Create, write, rename, remove, and move directories about."""
    for number in range(rounds):
        folder = root / f"d{number}" / "sub"
        folder.mkdir(parents=True)
        (folder / "kept").write_bytes(b"1" * number)
        (folder / "moved").write_bytes(b"2")
        (folder / "gone").touch()
        (folder / "gone").unlink()
        (folder / "moved").rename(root / f"arrived{number}")
        os.link(folder / "kept", root / f"link{number}")
        if number % 3 == 0:
            folder.parent.rename(root / f"renamed{number}")
        elif number % 5 == 1:
            shutil.rmtree(folder.parent)
        else:
            (folder / "kept").chmod(0o600)


def all_is_well(live: Live) -> None:
    """The index equals the tree, and just the directories of the index are watched."""
    assert live.wrong() == {}
    assert live.watched() == live.known()


def test_what_happens_reaches_the_index(tmp_path: Path) -> None:
    """At whatever place and of whatever kind."""
    with Live(tmp_path, TREE) as live:
        churn(live.root)
        live.settled()
        all_is_well(live)
        for name in os.listdir(live.root):
            (live.root / name).rename(tmp_path / name)
        live.settled()
        assert live.known() == live.watched() == {ROOT_ID}
        assert live.live.counters.overflows == 0


def test_renaming_a_directory_lists_nothing(tmp_path: Path) -> None:
    """Two events and no listing, whatever lies below; later events come under the new path."""
    with Live(tmp_path, {"a": {f"{number}": {"file": b"1"} for number in range(300)}}) as live:
        before = live.index.applied.directories
        (live.root / "a").rename(live.root / "b")
        assert live.settled().events == 2
        assert live.index.applied.directories == before
        (live.root / "b" / "7" / "file").write_bytes(b"longer")
        live.settled()
        assert live.file("b/7/file").size == 6
        all_is_well(live)


def test_a_tree_of_5000_levels_moves_in_and_out(tmp_path: Path) -> None:
    """Every level is watched when it has come in; when it has gone, nothing is left of it."""
    levels = 5_000
    outside = tmp_path / "outside"
    outside.mkdir()
    here = os.open(outside, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = deeper
    with Live(tmp_path, {"top": b"1"}) as live:
        (outside / "d").rename(live.root / "d")
        live.settled()
        assert len(live.watched()) == levels + 1
        os.close(os.open("file", os.O_CREAT, dir_fd=here))
        live.settled()
        assert live.value("SELECT count(*) FROM file WHERE name = 'file'") == 1
        (live.root / "d").rename(outside / "d")
        live.settled()
        assert live.watched() == live.known() == {ROOT_ID}
        os.close(os.open("unseen", os.O_CREAT, dir_fd=here))
        assert live.settled().hints == {}
        os.close(here)


class Intruder(InotifyWatcher):
    """Somebody creates a file in each directory just before it is watched, and another just after."""

    def register(self, directory_id: int, directory_fd: int, key: bytes) -> None:
        """Stage the race between mkdir and what follows it."""
        if directory_id != ROOT_ID:
            for when in ("before", "after"):
                name = f"/proc/self/fd/{directory_fd}/{when}"
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
                if when == "before":
                    super().register(directory_id, directory_fd, key)
        else:
            super().register(directory_id, directory_fd, key)


def test_what_is_made_in_a_directory_just_made_is_seen(tmp_path: Path) -> None:
    """Registered, then listed: what came before is listed, what came after is an event."""
    watcher = Intruder(clock=lambda: float(NOW), nap=0.001)
    with Live(tmp_path, {"top": b"1"}, watcher=watcher) as live:
        (live.root / "a" / "b").mkdir(parents=True)
        live.settled()
        assert live.paths() == {b"top", b"a/before", b"a/after", b"a/b/before", b"a/b/after"}
        all_is_well(live)


def test_a_real_overflow_converges(tmp_path: Path) -> None:
    """What the kernel dropped is found again: new trees are watched, those that left are not."""
    with Live(tmp_path, TREE) as live:
        overflow(live.live, live.root)
        with live.live._lock:
            churn(live.root)
            shutil.rmtree(live.root / "a")
            (live.root / "d").rename(tmp_path / "outside")
        batch = live.settled()
        assert Rescan(ROOT_ID, tree=True, reason="overflow") in batch.rescans
        all_is_well(live)
        churn(live.root / "d9")
        live.settled()
        all_is_well(live)


@needs("CAP_SYS_ADMIN")
def test_a_queue_that_a_pass_over_the_tree_overflows_converges(tmp_path: Path) -> None:
    """Listing raises events itself. Where the queue is too short for them, passes do not call for passes for ever."""
    with short_queue(16), Live(tmp_path, {f"d{number}": {"f": b"1"} for number in range(40)}) as live:
        with live.live._lock:
            churn(live.root)
        live.settled()
        assert live.live.counters.overflows > 0
        all_is_well(live)


def test_a_write_through_an_unlinked_name_is_seen_under_the_others(tmp_path: Path) -> None:
    """The kernel reports it for the directory of the name that is gone."""
    with Live(tmp_path, {"a": b"1", "d": {"b": HardLink("a")}}) as live:
        with open(live.root / "d" / "b", "r+b") as stream:
            (live.root / "d" / "b").unlink()
            live.settled()
            stream.write(b"longer than before")
        live.settled()
        all_is_well(live)


def test_a_restart_watches_what_has_not_changed(tmp_path: Path) -> None:
    """Nothing is listed, and all of it is heard."""
    with Live(tmp_path, TREE) as live:
        assert live.restart() == 0
        assert live.watched() == live.known()
        (live.root / "a" / "b" / "c" / "deep").write_bytes(b"longer")
        (live.root / "d" / "file").unlink()
        live.settled()
        all_is_well(live)


@pytest.mark.parametrize("privileged", [pytest.param(True, marks=needs("CAP_DAC_READ_SEARCH")), False])
def test_a_restart_after_surgery_watches_all_of_it(tmp_path: Path, privileged: bool) -> None:
    """Directories moved into each other, exchanged and replaced meanwhile: none is left unwatched."""
    with Live(tmp_path, {**TREE, "e": {"f": {"g": {"file": b"1"}}, "x": {}}}) as live:
        root = live.root

        def surgery() -> None:
            (root / "a").rename(root / "d" / "a")
            (root / "e" / "f").rename(root / "f")
            (root / "e" / "x").rmdir()
            (root / "e").rename(root / "a")
            (root / "e").mkdir()
            (root / "f" / "g" / "new").touch()

        live.restart(surgery)
        live.forbid_handles(not privileged)
        live.settled()
        all_is_well(live)
        for directory in ("d/a/b/c", "f/g", "a", "e"):
            (root / directory / "late").touch()
        live.settled()
        all_is_well(live)


def test_without_a_watch_left_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be watched is listed all the same, and named; with room again it is watched when it is listed."""
    with Live(tmp_path, {"a": {"one": b"1"}}) as live:
        with monkeypatch.context() as patch:
            patch.setattr(kernel, "inotify_add_watch", refuse(errno.ENOSPC))
            (live.root / "b" / "c").mkdir(parents=True)
            (live.root / "b" / "c" / "file").touch()
            live.settled()
        assert live.wrong() == {}
        assert set(live.live.unwatched) == {live.directory("b"), live.directory("b/c")}
        (live.root / "b" / "c" / "unseen").touch()
        live.settled()
        assert live.paths() == {b"a/one", b"b/c/file"}
        for directory_id in live.live.unwatched:
            live.index.request_rescan(Rescan(directory_id, tree=False, reason="unwatched"))
        live.settled()
        assert set(live.live.unwatched) == set()
        all_is_well(live)


def test_a_failed_transaction_forgets_no_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full while a directory leaves; it is back before the batch is tried again, and still watched."""
    with Live(tmp_path, TREE) as live:
        (live.root / "a").rename(tmp_path / "a")
        barrier = live.live.barrier()
        batch = live.live.take(10)
        while barrier not in batch.barriers:
            live.index.apply(batch)
            batch = live.live.take(10)
        with monkeypatch.context() as patch:
            patch.setattr(live.index.reclassifier, "step", refuse(errno.ENOSPC))
            with pytest.raises(OSError, match="No space left"):
                live.index.apply(batch)
        (tmp_path / "a").rename(live.root / "a")
        live.index.apply(batch)
        live.settled()
        (live.root / "a" / "b" / "c" / "late").touch()
        live.settled()
        all_is_well(live)


@pytest.fixture
def others(public_tmp: Path) -> Path:
    """Return a directory that belongs to another user."""
    os.chown(public_tmp, NOBODY, NOBODY)
    return public_tmp


@needs("CAP_SYS_ADMIN")
def test_an_unprivileged_user_loses_nothing(others: Path) -> None:
    """Directories are then reached by path and compared by handle."""

    def work() -> None:
        with Live(others, TREE) as live:
            for number in range(3):
                churn(live.root)
                live.settled()
                all_is_well(live)
                for name in os.listdir(live.root):
                    (live.root / name).rename(live.root / f"{name}.{number}")
                live.settled()
                all_is_well(live)
            assert not live.index.directories.handles_open
            live.verify()
            assert live.restart() == 0
            (live.root / "top.0.1.2").unlink()
            live.settled()
            all_is_well(live)

    do_as(NOBODY, work)


@needs("CAP_SYS_ADMIN")
def test_a_directory_that_may_be_read_again_is_watched(others: Path) -> None:
    """Its own chmod is reported by its parent."""

    def work() -> None:
        with Live(others, {"a": {"closed": {"sub": {"file": b"1"}}, "open": b"2"}}) as live:
            closed = live.root / "a" / "closed"
            live.restart(lambda: closed.chmod(0))
            live.settled()
            (closed.parent / "other").touch()
            live.settled()
            assert live.problems() == {b"a/closed": errno.EACCES}
            closed.chmod(0o700)
            live.settled()
            assert live.problems() == {}
            (closed / "sub" / "late").touch()
            live.settled()
            all_is_well(live)

    do_as(NOBODY, work)


@needs("CAP_SYS_ADMIN")
def test_a_real_watch_limit(tmp_path: Path) -> None:
    """Twenty watches for thirty directories: ten are unwatched, by number and id, and nothing else suffers."""

    def work() -> None:
        with Live(tmp_path, {f"{number}": {"file": b"1"} for number in range(30)}) as live:
            assert live.live.counters.unwatched == 11
            assert len(live.watched()) == 20
            assert live.wrong() == {}
            live.live.forget(next(iter(live.watched() - {ROOT_ID})))
            for directory_id in live.live.unwatched:
                live.index.request_rescan(Rescan(directory_id, tree=False, reason="unwatched"))
            live.settled()
            assert live.live.counters.unwatched == 10

    do_within({"max_inotify_watches": 20}, work)


@needs("CAP_SYS_ADMIN")
def test_a_real_instance_limit_is_told(tmp_path: Path) -> None:
    """Before anything is started, with the name of the sysctl."""

    def work() -> None:
        reason = inotify.probe(os.fsencode(tmp_path))
        assert reason == "this user's inotify instances are used up (fs.inotify.max_user_instances)"

    do_within({"max_inotify_instances": 0}, work)
