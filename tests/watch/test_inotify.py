"""inotify as a source of hints: what it sees, how it settles, what it admits not to see."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer.events import ACCESSED, CHANGED, ROOT_ID, Batch, Rescan
from indexer.syscalls import inotify as kernel
from indexer.watch import inotify
from indexer.watch.inotify import InotifyWatcher
from tests.capabilities import needs
from tests.waiting import until
from tests.watch.live import DEADLINE, taken

NEVER = 3600.0


@pytest.fixture
def watcher() -> Iterator[InotifyWatcher]:
    """Start a watcher that watches nothing yet."""
    watcher = InotifyWatcher(clock=lambda: 0.0, nap=0.001)
    watcher.start()
    yield watcher
    watcher.stop()


def register(watcher: InotifyWatcher, directory_id: int, place: Path) -> None:
    """Register a directory as the index does, by a descriptor that is closed again."""
    fd = os.open(place, os.O_PATH)
    watcher.register(directory_id, fd, b"")
    os.close(fd)


def in_kernel(watcher: InotifyWatcher) -> int:
    """Count the watches that the kernel holds."""
    with open(f"/proc/self/fdinfo/{watcher._queue}", encoding="ascii") as info:
        return sum(line.startswith("inotify ") for line in info)


@pytest.fixture
def root(tmp_path: Path, watcher: InotifyWatcher) -> Path:
    """Watch an empty directory as the root."""
    register(watcher, ROOT_ID, tmp_path)
    return tmp_path


def create(path: Path) -> None:
    """Make an empty file."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def append(path: Path) -> None:
    """Write at its end."""
    with open(path, "ab") as stream:
        stream.write(b"1")


def map_and_write(path: Path) -> None:
    """Write through a map, which raises no event of its own: only the close does."""
    with open(path, "r+b") as stream, mmap.mmap(stream.fileno(), 1) as memory:
        memory[0] = 65


CHANGING: dict[str, Callable[[Path], object]] = {
    "create": create,
    "append": append,
    "truncate": lambda path: os.truncate(path, 0),
    "mmap": map_and_write,
    "chmod": lambda path: path.chmod(0o600),
    "utime": lambda path: os.utime(path, (1, 1)),
    "unlink": Path.unlink,
    "mkdir": lambda path: path.with_name("new").mkdir(),
    "rmdir": lambda path: path.with_name("empty").rmdir(),
    "symlink": lambda path: path.with_name("new").symlink_to("anywhere"),
    "link": lambda path: os.link(path, path.with_name("new")),
    "mkfifo": lambda path: os.mkfifo(path.with_name("new")),
    "rename": lambda path: path.rename(path.with_name("new")),
}


@pytest.mark.parametrize("how", CHANGING)
def test_every_kind_of_change_is_a_hint_on_its_name(root: Path, watcher: InotifyWatcher, how: str) -> None:
    """And on no other; what kind it was does not matter."""
    if how != "create":
        (root / "file").write_bytes(b"0")
        (root / "empty").mkdir()
    taken(watcher)
    CHANGING[how](root / "file")
    expected = {
        "rename": {b"file": CHANGED, b"new": CHANGED},
        "rmdir": {b"empty": CHANGED},
        **{kind: {b"new": CHANGED} for kind in ("mkdir", "symlink", "link", "mkfifo")},
    }
    batch = taken(watcher)
    assert {ROOT_ID: expected.get(how, {b"file": CHANGED})} == batch.hints
    assert batch.rescans == []


def test_a_writer_that_does_not_close_is_seen(root: Path, watcher: InotifyWatcher) -> None:
    """A log that is written for weeks grows in the index too."""
    with open(root / "log", "wb", buffering=0) as stream:
        taken(watcher)
        stream.write(b"line")
        assert taken(watcher).hints == {ROOT_ID: {b"log": CHANGED}}


def test_reading_is_a_use_and_listing_is_nothing(root: Path, watcher: InotifyWatcher) -> None:
    """Our own listings of directories raise no hint, the root's own included."""
    (root / "file").write_bytes(b"0")
    (root / "sub").mkdir()
    taken(watcher)
    (root / "file").read_bytes()
    os.listdir(root)
    os.listdir(root / "sub")
    assert taken(watcher).hints == {ROOT_ID: {b"file": ACCESSED}}


def test_a_file_that_is_read_all_the_time_is_told_once_in_a_while(root: Path) -> None:
    """Within half the resolution a use tells nothing new, unless the name has changed meanwhile."""
    (root / "hot").write_bytes(b"1")
    watcher = InotifyWatcher(clock=lambda: 1.5, nap=0.001, access_resolution=7200)
    watcher.start()
    try:
        register(watcher, ROOT_ID, root)
        found = []
        for _ in range(3):
            (root / "hot").read_bytes()
            found.append(taken(watcher).hints)
        (root / "hot").write_bytes(b"2")
        found.append(taken(watcher).hints)
        (root / "hot").read_bytes()
        found.append(taken(watcher).hints)
    finally:
        watcher.stop()
    expected = [{b"hot": ACCESSED}, {}, {}, {b"hot": CHANGED}, {b"hot": ACCESSED}]
    assert found == [{ROOT_ID: names} if names else {} for names in expected]


def test_a_change_of_the_directory_itself_is_a_hint_on_a_dot(root: Path, watcher: InotifyWatcher) -> None:
    """As fanotify reports it: a directory that may be read again is listed again."""
    root.chmod(0o700)
    assert taken(watcher).hints == {ROOT_ID: {b".": CHANGED}}


@pytest.mark.parametrize("name", [b"a", b"\xff\xfe", b"new\nline", *(b"x" * n for n in (14, 15, 16, 17, 31, 32, 255))])
def test_names_keep_their_bytes(root: Path, watcher: InotifyWatcher, name: bytes) -> None:
    """The kernel pads names with NULs to multiples of 16."""
    os.close(os.open(os.path.join(os.fsencode(root), name), os.O_CREAT))
    assert name in taken(watcher).hints[ROOT_ID]


def test_a_moved_directory_reports_under_its_id(root: Path, watcher: InotifyWatcher) -> None:
    """The watch stays with the inode: a rename costs two hints, whatever lies below."""
    (root / "a" / "deep").mkdir(parents=True)
    register(watcher, 2, root / "a")
    register(watcher, 3, root / "a" / "deep")
    taken(watcher)
    (root / "a").rename(root / "b")
    batch = taken(watcher)
    assert (batch.hints, batch.events) == ({ROOT_ID: {b"a": CHANGED, b"b": CHANGED}}, 2)
    (root / "b" / "deep" / "file").touch()
    assert taken(watcher).hints == {3: {b"file": CHANGED}}


def test_registering_again_changes_nothing(root: Path, watcher: InotifyWatcher) -> None:
    """Each listing registers: the same inode is the same watch, and nothing queued is lost."""
    (root / "before").touch()
    for _ in range(3):
        register(watcher, ROOT_ID, root)
    assert taken(watcher).hints == {ROOT_ID: {b"before": CHANGED}}
    assert in_kernel(watcher) == 1


def test_an_id_that_is_given_again_means_another_directory(root: Path, watcher: InotifyWatcher) -> None:
    """A transaction that failed takes its ids back: what was watched under one of them is not confused with it."""
    for name in "ab":
        (root / name).mkdir()
    register(watcher, 2, root / "a")
    register(watcher, 2, root / "b")
    (root / "a" / "file").touch()
    (root / "b" / "file").touch()
    assert taken(watcher).hints[2] == {b"file": CHANGED}
    assert in_kernel(watcher) == 2
    register(watcher, 3, root / "b")
    assert (watcher.watches(2), watcher.watches(3)) == (False, True)


def test_a_forgotten_directory_is_silent(root: Path, watcher: InotifyWatcher) -> None:
    """What was queued is dropped, and the kernel's watch is given back."""
    (root / "sub").mkdir()
    register(watcher, 2, root / "sub")
    (root / "sub" / "queued").touch()
    watcher.forget(2)
    (root / "sub" / "late").touch()
    batch = taken(watcher)
    assert batch.hints == {ROOT_ID: {b"sub": CHANGED}}
    assert in_kernel(watcher) == 1
    watcher.forget(2)
    watcher.forget(99)


def test_a_removed_directory_needs_no_forgetting(root: Path, watcher: InotifyWatcher) -> None:
    """The kernel has ended the watch; forgetting it later is no error."""
    (root / "sub").mkdir()
    register(watcher, 2, root / "sub")
    (root / "sub").rmdir()
    assert taken(watcher).hints == {ROOT_ID: {b"sub": CHANGED}}
    assert not watcher.watches(2)
    watcher.forget(2)
    assert watcher.alive()


def test_a_removed_root_is_a_dead_watcher(tmp_path: Path, watcher: InotifyWatcher) -> None:
    """Nothing would ever come again: the service starts a new one."""
    (tmp_path / "root").mkdir()
    register(watcher, ROOT_ID, tmp_path / "root")
    assert watcher.alive()
    (tmp_path / "root").rmdir()
    taken(watcher)
    assert not watcher.alive()


@needs("CAP_SYS_ADMIN")
@pytest.mark.parametrize("directory_id", [ROOT_ID, 2])
def test_an_unmounted_filesystem_is_doubted(tmp_path: Path, watcher: InotifyWatcher, directory_id: int) -> None:
    """One of several filesystems: a rescan; the root's own: a dead watcher."""
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    try:
        register(watcher, directory_id, tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    rescans = taken(watcher).rescans
    if directory_id == ROOT_ID:
        assert (rescans, watcher.alive()) == ([], False)
    else:
        assert (rescans, watcher.alive()) == ([Rescan(2, tree=True, reason="unmounted")], True)


def test_a_barrier_covers_what_happened_before_it(root: Path, watcher: InotifyWatcher) -> None:
    """Each of a thousand files is in the batch of the barrier that was asked for after it, or before."""
    for number in range(1000):
        (root / f"{number}").touch()
        if number % 100 == 0:
            assert b"%d" % number in taken(watcher).hints[ROOT_ID]


def test_a_barrier_without_any_event_opens(watcher: InotifyWatcher) -> None:
    """An idle store settles at once."""
    batch = taken(watcher)
    assert (batch.hints, batch.drained) == ({}, True)


def raw(watch: int, mask: int, name: bytes = b"") -> bytes:
    """Return an event as the kernel writes it."""
    padded = name + b"\0" * (16 - len(name)) if name else b""
    return kernel.EVENT.pack(watch, mask, 0, len(padded)) + padded


def test_an_overflow_is_a_rescan_of_everything(root: Path, watcher: InotifyWatcher) -> None:
    """Not a log line: a value in the same pipe, beside what else was read, and a figure."""
    del root
    watch = watcher._watches[ROOT_ID]
    with watcher._lock:
        watcher._coalesce(raw(watch, kernel.IN_CREATE, b"a") + raw(-1, kernel.IN_Q_OVERFLOW))
    batch = watcher.take(0)
    assert batch.rescans == [Rescan(ROOT_ID, tree=True, reason="overflow")]
    assert batch.hints == {ROOT_ID: {b"a": CHANGED}}
    assert watcher.counters.overflows == 1


def overflow(watcher: InotifyWatcher, root: Path) -> None:
    """Fill the kernel's queue while the reader is held up."""
    _, limit = kernel.limit_of("queued_events")
    if limit > 200_000:
        pytest.skip(f"fs.inotify.max_queued_events is {limit}")
    names = [root / "one", root / "two"]
    for name in names:
        name.touch()
    taken(watcher)
    with watcher._lock:
        for number in range(limit // 2 + 1):
            for name in names:  # in turns, or the kernel merges them
                os.utime(name, (number, number))


def test_a_real_overflow_is_noticed(root: Path, watcher: InotifyWatcher) -> None:
    """The kernel drops events when its queue is full, and says so once."""
    overflow(watcher, root)
    batch = taken(watcher)
    assert batch.rescans == [Rescan(ROOT_ID, tree=True, reason="overflow")]
    assert (watcher.counters.overflows, watcher.alive()) == (1, True)
    (root / "after").touch()
    assert b"after" in taken(watcher).hints[ROOT_ID]


def test_a_writer_that_stands_still_costs_bounded_memory(
    root: Path, watcher: InotifyWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More names than the limit become one listing of their directory."""
    monkeypatch.setattr(inotify, "PENDING_LIMIT", 10)
    for number in range(30):
        (root / f"{number}").touch()
    batch = taken(watcher)
    assert Rescan(ROOT_ID, tree=False, reason="folded") in batch.rescans
    assert watcher.counters.folded >= 1
    assert sum(map(len, batch.hints.values())) <= 30


def test_a_watched_directory_costs_less_than_400_bytes(root: Path, watcher: InotifyWatcher) -> None:
    """Of ours: which watch is which directory, and back. (The kernel adds its inode and the watch itself.)"""
    count = 2_000
    fds = []
    for number in range(count):
        (root / f"{number}").mkdir()
        fds.append(os.open(root / f"{number}", os.O_PATH))
    tracemalloc.start()
    for number, fd in enumerate(fds):
        watcher.register(1_000_000 + number, fd, b"")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for fd in fds:
        os.close(fd)
    assert used / count < 400


def refuse(code: int) -> Callable[..., int]:
    """Return a system call that fails."""

    def call(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOMEM])
def test_where_no_watch_is_left_the_directory_is_remembered(
    root: Path, watcher: InotifyWatcher, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """It is registered, unwatched and counted, until a later try finds room or it is forgotten."""
    for name in "ab":
        (root / name).mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "inotify_add_watch", refuse(code))
        register(watcher, 2, root / "a")
        register(watcher, 3, root / "b")
    assert (set(watcher.unwatched), watcher.counters.unwatched, watcher.watches(2)) == ({2, 3}, 2, True)
    register(watcher, 2, root / "a")
    assert (set(watcher.unwatched), watcher.counters.unwatched) == ({3}, 1)
    watcher.forget(3)
    assert (set(watcher.unwatched), watcher.counters.unwatched) == (set(), 0)


def test_what_may_not_be_watched_is_an_error(
    root: Path, watcher: InotifyWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that cannot be read is listed among the unreadable ones, not among the unwatched."""
    monkeypatch.setattr(kernel, "inotify_add_watch", refuse(errno.EACCES))
    with pytest.raises(PermissionError):
        register(watcher, 2, root)
    assert set(watcher.unwatched) == set()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EMFILE, "this user's inotify instances are used up (fs.inotify.max_user_instances)"),
        (errno.ENOSYS, "the platform has no inotify"),
    ],
)
def test_the_reason_against_inotify_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str
) -> None:
    """With the sysctl that is in the way."""
    assert inotify.probe(os.fsencode(tmp_path)) is None
    monkeypatch.setattr(kernel, "inotify_init", refuse(code))
    assert inotify.probe(os.fsencode(tmp_path)) == reason


def test_a_call_ends_a_take_that_waits_or_the_next_one(watcher: InotifyWatcher) -> None:
    """Whoever has something else for the writer to do need not wait for an event, and is never too early."""
    watcher.wake()
    assert not watcher.take(NEVER)
    taken: list[Batch] = []
    waiting = threading.Thread(target=lambda: taken.append(watcher.take(NEVER)))
    waiting.start()
    watcher.wake()
    waiting.join(DEADLINE)
    assert [bool(batch) for batch in taken] == [False]


def test_a_reader_that_dies_wakes_who_waits_for_it(watcher: InotifyWatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """That nobody reads any more is seen at once."""
    ends: list[object] = []
    monkeypatch.setattr(threading, "excepthook", ends.append)

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(watcher, "_drain", fail)
    watcher.barrier()
    watcher.take(NEVER)
    until(lambda: not watcher.alive(), "the end of the reader")
    assert len(ends) == 1
