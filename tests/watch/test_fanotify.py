"""fanotify as a source of hints: what it sees, how it settles, where it can be had."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from indexer.events import ACCESSED, CHANGED, ROOT_ID, Batch, Rescan, directory_key
from indexer.syscalls import fanotify as fan
from indexer.syscalls.handles import handle_of
from indexer.watch import fanotify, fanotify_mute, reader
from indexer.watch.fanotify import FanotifyWatcher, probe
from indexer.watch.fanotify_mute import MUTE_AFTER
from tests.capabilities import needs
from tests.index.rig import Rig
from tests.mounts import bind, unmount
from tests.reading import Reading
from tests.trees import hostile_names
from tests.waiting import until
from tests.watch.live import taken

pytestmark = needs("CAP_SYS_ADMIN")

NEVER = 3600.0
"""A nap that only a barrier or a stop ends: what happens meanwhile stays in the kernel's queue."""


def key_of(place: Path) -> bytes:
    """Return the key under which the kernel reports a directory."""
    fd = os.open(place, os.O_RDONLY)
    try:
        return directory_key(os.statvfs(fd).f_fsid, handle_of(fd))
    finally:
        os.close(fd)


@pytest.fixture
def watch() -> Iterator[Callable[..., FanotifyWatcher]]:
    """Return `watch(*directories, nap=…)`: a started watcher over the filesystems they lie on."""
    with ExitStack() as stack:

        def start(*places: Path, nap: float = 0.001, **wishes: Any) -> FanotifyWatcher:
            fds = [os.open(place, os.O_RDONLY | os.O_DIRECTORY) for place in places]
            for fd in fds:
                stack.callback(os.close, fd)
            watcher = FanotifyWatcher(fds, clock=lambda: 1.5, nap=nap, **wishes)
            watcher.start()
            stack.callback(watcher.stop)
            return watcher

        yield start


def hints(batch: Batch, place: Path) -> dict[bytes, int]:
    """Return what was hinted at in a directory."""
    return batch.hints.get(key_of(place), {})


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


KINDS: dict[str, tuple[Callable[[Path], object], dict[bytes, int]]] = {
    "create": (lambda d: create(d / "new"), {b"new": CHANGED}),
    "append": (lambda d: append(d / "f"), {b"f": CHANGED}),
    "truncate": (lambda d: os.truncate(d / "f", 0), {b"f": CHANGED}),
    "mmap": (lambda d: map_and_write(d / "f"), {b"f": CHANGED}),
    "read": (lambda d: (d / "f").read_bytes(), {b"f": ACCESSED}),
    "chmod": (lambda d: (d / "f").chmod(0o600), {b"f": CHANGED}),
    "chown": (lambda d: os.chown(d / "f", 1, 1), {b"f": CHANGED}),
    "utime": (lambda d: os.utime(d / "f", (1, 1)), {b"f": CHANGED}),
    "unlink": (lambda d: (d / "f").unlink(), {b"f": CHANGED}),
    "mkdir": (lambda d: (d / "new").mkdir(), {b"new": CHANGED}),
    "rmdir": (lambda d: (d / "empty").rmdir(), {b"empty": CHANGED}),
    "symlink": (lambda d: (d / "new").symlink_to("anywhere"), {b"new": CHANGED}),
    "mkfifo": (lambda d: os.mkfifo(d / "new"), {b"new": CHANGED}),
    "link": (lambda d: os.link(d / "f", d / "new"), {b"new": CHANGED}),
    "rename": (lambda d: (d / "f").rename(d / "new"), {b"f": CHANGED, b"new": CHANGED}),
    "rename of a directory": (lambda d: (d / "empty").rename(d / "new"), {b"empty": CHANGED, b"new": CHANGED}),
    "chmod of a directory": (lambda d: d.chmod(0o750), {b".": CHANGED}),
    "list": (os.listdir, {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_event_hints_at_the_name_in_its_directory(
    tmp_path: Path, watch: Callable[..., FanotifyWatcher], kind: str
) -> None:
    """Changes and uses, under the key of the directory, and nothing about anything else in it."""
    act, expected = KINDS[kind]
    folder = tmp_path / "d"
    (folder / "empty").mkdir(parents=True)
    (folder / "f").write_bytes(b"film")
    watcher = watch(tmp_path)
    act(folder)
    found = hints(taken(watcher), folder)
    if kind in {"link", "unlink"}:
        found = {name: kinds for name, kinds in found.items() if name in expected or name != b"f"}  # its link count
    assert found == expected


def test_names_of_any_bytes(tmp_path: Path, watch: Callable[..., FanotifyWatcher]) -> None:
    """A name ends where the kernel says, whatever is in it."""
    names = hostile_names(5, 300)
    watcher = watch(tmp_path)
    for name in names:
        create(Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))))
    assert hints(taken(watcher), tmp_path) == dict.fromkeys(names, CHANGED)


def test_a_batch_bears_the_time_and_the_number_of_events(tmp_path: Path, watch: Callable[..., FanotifyWatcher]) -> None:
    """`at` is the clock's; events that the kernel merged count once."""
    watcher = watch(tmp_path)
    create(tmp_path / "f")
    batch = taken(watcher)
    assert 1 <= batch.events <= watcher.counters.events
    create(tmp_path / "g")
    barrier = watcher.barrier()
    assert barrier in watcher.take(20).barriers or barrier in watcher.take(20).barriers
    assert watcher.take(0).at == 1.5


def test_a_barrier_covers_all_that_was_queued_however_long_the_queue(
    tmp_path: Path, watch: Callable[..., FanotifyWatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one read: FIONREAD counts only the fixed part of fanotify's events, so bytes would end too early."""
    monkeypatch.setattr(reader, "BUFFER", 4096)
    watcher = watch(tmp_path, nap=NEVER)
    names = {b"%05d" % number: CHANGED for number in range(3_000)}
    for name in names:
        create(tmp_path / name.decode())
    barrier = watcher.barrier()
    found: dict[bytes, int] = {}
    batch = watcher.take(20)
    while barrier not in batch.barriers:
        found |= hints(batch, tmp_path)
        batch = watcher.take(20)
    assert found | hints(batch, tmp_path) == names


def test_a_batch_is_drained_only_when_all_that_was_queued_is_in_it(
    mount: Callable[..., Path], watch: Callable[..., FanotifyWatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What vanished and has not reappeared in a drained batch is gone for good: it must not be said too early."""
    monkeypatch.setattr(reader, "BUFFER", 4096)
    place = mount("tmpfs")  # where nobody else raises events
    watcher = watch(place, nap=NEVER)
    for number in range(1_000):
        create(place / f"{number}")
    assert not watcher.take(0).drained
    watcher.barrier()
    found: set[bytes] = set()
    drained = False
    while not drained:
        batch = watcher.take(20)
        found |= hints(batch, place).keys()
        drained = batch.drained
    assert len(found) == 1_000


def test_foreign_directories_are_dropped_while_they_are_read(
    tmp_path: Path, watch: Callable[..., FanotifyWatcher]
) -> None:
    """The filesystem around the store costs no memory; a directory that becomes ours is heard again."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.mkdir()
    other.mkdir()
    watcher = watch(tmp_path)
    create(other / "before")
    assert hints(taken(watcher), other) == {b"before": CHANGED}
    watcher.foreign(key_of(other))
    create(other / "dropped")
    create(ours / "heard")
    batch = taken(watcher)
    assert (hints(batch, other), hints(batch, ours)) == ({}, {b"heard": CHANGED})
    assert watcher.counters.foreign >= 1
    watcher.register(7, -1, key_of(other))
    create(other / "after")
    assert hints(taken(watcher), other) == {b"after": CHANGED}


def test_events_of_others_wake_nobody(mount: Callable[..., Path], watch: Callable[..., FanotifyWatcher]) -> None:
    """One mark covers a filesystem: what is dropped while it is read does not end the writer's rest."""
    place = mount("tmpfs")
    ours, other = place / "ours", place / "other"
    ours.mkdir()
    other.mkdir()
    watcher = watch(place)
    watcher.foreign(key_of(other))
    taken: list[Batch] = []
    waiting = threading.Thread(target=lambda: taken.append(watcher.take(NEVER)))
    waiting.start()
    seen = watcher.counters.foreign
    (other / "a").write_bytes(b"x")
    until(lambda: watcher.counters.foreign > seen, "the event of another")
    assert waiting.is_alive()
    (ours / "b").write_bytes(b"x")
    waiting.join(30.0)
    assert [set(batch.hints) for batch in taken] == [{key_of(ours)}]


def test_the_memory_for_foreign_directories_is_bounded(
    tmp_path: Path, watch: Callable[..., FanotifyWatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit it starts afresh: hints about strangers are harmless."""
    monkeypatch.setattr(fanotify, "FOREIGN_LIMIT", 10)
    watcher = watch(tmp_path)
    for number in range(100):
        watcher.foreign(b"%08d" % number)
        assert len(watcher._foreign) <= 10


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "xfs", "btrfs"])
def test_a_busy_directory_outside_is_muted_until_it_is_ours(
    mount: Callable[..., Path], watch: Callable[..., FanotifyWatcher], kind: str
) -> None:
    """The kernel keeps its files' events to itself; moves across its border and directories in it are still told."""
    top = mount(kind)
    (top / "ours").mkdir()
    (top / "busy" / "store").mkdir(parents=True)
    watcher = watch(top)
    watcher.foreign(key_of(top / "busy"))
    for number in range(MUTE_AFTER):
        create(top / "busy" / f"{number}")
        taken(watcher)
    assert watcher.counters.muted == 1
    before = watcher.counters.events
    for number in range(1_000):
        create(top / "busy" / f"more {number}")
    (top / "busy" / "0").rename(top / "ours" / "in")
    (top / "ours" / "in").rename(top / "busy" / "out")
    assert hints(taken(watcher), top / "ours") == {b"in": CHANGED}
    assert watcher.counters.events - before <= 4
    (top / "busy" / "store").chmod(0o700)  # a root in a muted directory is heard
    assert hints(taken(watcher), top / "busy" / "store") == {b".": CHANGED}
    (top / "busy").rename(top / "ours" / "busy")
    watcher.register(7, -1, key_of(top / "ours" / "busy"))
    assert watcher.counters.muted == 0
    create(top / "ours" / "busy" / "heard")
    assert hints(taken(watcher), top / "ours" / "busy") == {b"heard": CHANGED}


def test_what_cannot_be_unmuted_alone_is_unmuted_with_all(
    mount: Callable[..., Path], watch: Callable[..., FanotifyWatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that cannot be reached at that moment (ENOMEM, seen on ext4) must not stay silent for it."""
    top = mount("tmpfs")
    watcher = watch(top)
    for name in ("a", "b"):
        (top / name).mkdir()
        watcher.foreign(key_of(top / name))
        for number in range(MUTE_AFTER):
            create(top / name / f"{number}")
            taken(watcher)
    assert watcher.counters.muted == 2
    key = key_of(top / "a")
    monkeypatch.setattr(fanotify_mute, "open_handle", refusing(errno.ENOMEM))
    watcher.register(7, -1, key)
    assert watcher.counters.muted == 0
    create(top / "a" / "heard")
    assert hints(taken(watcher), top / "a") == {b"heard": CHANGED}


@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL, errno.ESTALE])
def test_where_nothing_can_be_muted_it_is_dropped_as_before(
    mount: Callable[..., Path], watch: Callable[..., FanotifyWatcher], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Without the capability, before Linux 6.0, or gone meanwhile: no error, and no hint either."""
    top = mount("tmpfs")
    (top / "busy").mkdir()
    watcher = watch(top)
    watcher.foreign(key_of(top / "busy"))
    monkeypatch.setattr(fanotify_mute, "open_handle", refusing(code))
    for number in range(2 * MUTE_AFTER):
        create(top / "busy" / f"{number}")
    assert hints(taken(watcher), top / "busy") == {}
    assert (watcher.counters.muted, watcher.alive()) == (0, True)


def refusing(code: int) -> Callable[..., int]:
    """Return a system call that fails."""

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return refuse


@needs("fs:ext4", "loop", "mkfs.ext4")
def test_an_error_that_the_filesystem_finds_is_a_state_and_a_doubt(
    mount: Callable[..., Path], watch: Callable[..., FanotifyWatcher]
) -> None:
    """ext4 lets one be raised; beside everything else that happens, and told once."""
    top = mount("ext4")
    device = os.stat(top).st_dev
    name = os.path.basename(os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
    trigger = Path(f"/sys/fs/ext4/{name}/trigger_fs_error")
    if not trigger.exists():
        pytest.skip("needs an ext4 whose errors can be raised")
    watcher = watch(top)
    trigger.write_text("staged by a test")
    create(top / "f")
    until(lambda: watcher.counters.filesystem_error)
    batch = taken(watcher)
    assert watcher.counters.filesystem_error == "EUCLEAN: Structure needs cleaning"
    assert hints(batch, top) == {b"f": CHANGED}
    assert batch.rescans == [Rescan(ROOT_ID, tree=True, reason="filesystem_error")]


def test_a_file_that_is_read_all_the_time_is_told_once_in_a_while(
    mount: Callable[..., Path], watch: Callable[..., FanotifyWatcher]
) -> None:
    """Within half the resolution a use tells nothing new, unless the name has changed meanwhile."""
    top = mount("tmpfs")
    (top / "hot").write_bytes(b"1")
    watcher = watch(top, access_resolution=2 * NEVER)
    found = []
    for _ in range(3):
        (top / "hot").read_bytes()
        found.append(hints(taken(watcher), top))
    (top / "hot").write_bytes(b"2")
    found.append(hints(taken(watcher), top))
    (top / "hot").read_bytes()
    found.append(hints(taken(watcher), top))
    assert found == [{b"hot": ACCESSED}, {}, {}, {b"hot": CHANGED}, {b"hot": ACCESSED}]


def test_what_ignored_programs_read_is_no_use(
    mount: Callable[..., Path], watch: Callable[..., FanotifyWatcher]
) -> None:
    """Each process by itself: the kernel never merges events of two; whoever has ended is counted as unknown."""
    top = mount("tmpfs")
    for name in ("a", "b", "c"):
        (top / name).write_bytes(b"line\n")
    watcher = watch(top, ignore_readers=("some-antivirus-daemon", "restic"))
    with Reading(top, "some-antivirus-daemon") as ignored, Reading(top, "somebody") as other:
        ignored.read("a")
        ignored.read("b")
        other.read("b")
        batch = taken(watcher)
        assert hints(batch, top) == {b"b": ACCESSED}
        assert (watcher.counters.ignored_reads, watcher.counters.unknown_readers) == (2, 0)
        ignored.write("a")
        assert hints(taken(watcher), top) == {b"a": CHANGED}
    held = watch(top, nap=NEVER, ignore_readers=("restic",))
    with Reading(top, "restic") as gone:
        gone.read("c")
    assert hints(taken(held), top)[b"c"] == ACCESSED
    assert held.counters.unknown_readers == 1


def test_the_control_directory_is_nobody_s_business(tmp_path: Path) -> None:
    """What the program itself writes there becomes foreign by itself, also when it is made anew."""
    root = tmp_path / "root"
    (root / ".indexer" / "trash").mkdir(parents=True)
    control = os.stat(root / ".indexer")
    fd = os.open(root, os.O_RDONLY)
    watcher = FanotifyWatcher([fd], clock=lambda: 1.5, nap=0.001)
    watcher.start()
    try:
        with Rig(tmp_path, {}, watcher=watcher, exempt=frozenset({(control.st_dev, control.st_ino)})) as rig:
            create(root / ".indexer" / "one")
            create(root / ".indexer" / "trash" / "two")
            rig.index.apply(taken(watcher))
            rig.settle()
            create(root / ".indexer" / "three")
            create(root / ".indexer" / "trash" / "four")
            batch = taken(watcher)
            assert (hints(batch, root / ".indexer"), hints(batch, root / ".indexer" / "trash")) == ({}, {})
            assert rig.paths() == set()
    finally:
        watcher.stop()
        os.close(fd)


def test_names_beyond_a_bound_are_folded_into_their_directories(
    tmp_path: Path, watch: Callable[..., FanotifyWatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that stands still in a storm costs bounded memory: later it lists the directories instead."""
    monkeypatch.setattr(fanotify, "PENDING_LIMIT", 100)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    watcher = watch(tmp_path)
    for number in range(60):
        create(one / f"{number}")
        create(two / f"{number}")
    barrier = watcher.barrier()
    until(lambda: barrier in watcher._barriers, "the reader has gone through the queue")
    batch = taken(watcher, barrier)
    assert watcher.counters.folded >= 1
    assert {Rescan(key_of(place), tree=False, reason="folded") for place in (one, two)} <= set(batch.rescans)
    left = hints(batch, one).keys() | hints(batch, two).keys()
    assert len(left) <= 100


def test_listing_a_tree_costs_the_reader_nothing(
    tmp_path: Path, watch: Callable[..., FanotifyWatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every listed directory raises an event, our own scan's too: folding them would list them all over again."""
    monkeypatch.setattr(fanotify, "PENDING_LIMIT", 20)
    for number in range(200):
        (tmp_path / f"{number}").mkdir()
    watcher = watch(tmp_path)
    for number in range(200):
        os.listdir(tmp_path / f"{number}")
    batch = taken(watcher)
    ours = {key_of(tmp_path / f"{number}") for number in range(200)}
    assert (ours & batch.hints.keys(), [rescan for rescan in batch.rescans if rescan.directory in ours]) == (set(), [])


def test_a_real_overflow_is_a_doubt_about_everything(
    tmp_path: Path, watch: Callable[..., FanotifyWatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the kernel's limited queue: the event that says so is counted and becomes a rescan of the root."""
    with open("/proc/sys/fs/fanotify/max_queued_events", encoding="ascii") as limit:
        most = int(limit.read())
    monkeypatch.setattr(fan, "FAN_UNLIMITED_QUEUE", 0)
    watcher = watch(tmp_path, nap=NEVER)
    for number in range(most + 100):
        os.mkdir(tmp_path / f"{number}")
    batch = taken(watcher)
    assert batch.rescans == [Rescan(ROOT_ID, tree=True, reason="overflow")]
    assert watcher.counters.overflows == 1


def event(mask: int, record: bytes = b"") -> bytes:
    """Return an event as the kernel writes it; `record` is its info record."""
    return struct.pack("=IBBHQii", 24 + len(record), 3, 0, 24, mask, -1, 0) + record


def fid(name: bytes, handle: bytes = b"12345678") -> bytes:
    """Return an info record with a directory's handle and a name, padded as the kernel does."""
    body = b"fsid 123" + struct.pack("=Ii", len(handle), 1) + handle + name + b"\0"
    body += b"\0" * (-len(body) % 4)
    return struct.pack("=BBH", 2, 0, 4 + len(body)) + body


def test_events_are_coalesced_by_directory_and_name() -> None:
    """Whatever the length of handle and name; an overflow has no record at all, and unknown records do no harm."""
    watcher = FanotifyWatcher([], clock=lambda: 1.5)
    long = b"h" * 128
    data = (
        event(fan.FAN_CREATE, fid(b"a"))
        + event(fan.FAN_MODIFY | fan.FAN_CLOSE_WRITE, fid(b"a"))
        + event(fan.FAN_CLOSE_NOWRITE, fid(b"abc"))
        + event(fan.FAN_Q_OVERFLOW)
        + event(fan.FAN_DELETE, fid(b"a" * 255, long))
        + event(fan.FAN_CLOSE_NOWRITE | fan.FAN_ONDIR, fid(b"."))
        + event(fan.FAN_CREATE, b"\x63\0\x08\0????")
    )
    watcher._coalesce(data)
    batch = watcher.take(0)
    first = b"fsid 123" + struct.pack("=Ii", 8, 1) + b"12345678"
    second = b"fsid 123" + struct.pack("=Ii", 128, 1) + long
    assert batch.hints == {first: {b"a": CHANGED, b"abc": ACCESSED}, second: {b"a" * 255: CHANGED}}
    assert batch.rescans == [Rescan(ROOT_ID, tree=True, reason="overflow")]
    assert watcher.counters.events == 7


def test_stopped_and_started_again(tmp_path: Path, watch: Callable[..., FanotifyWatcher]) -> None:
    """It says whether it is alive, gives everything back, and hears again after a new start."""
    before = len(os.listdir("/proc/self/fd"))
    watcher = watch(tmp_path)
    assert watcher.alive()
    watcher.stop()
    assert not watcher.alive()
    create(tmp_path / "unheard")
    watcher.start()
    create(tmp_path / "heard")
    assert hints(taken(watcher), tmp_path) == {b"heard": CHANGED}
    watcher.stop()
    watcher.stop()
    assert len(os.listdir("/proc/self/fd")) == before + 1  # the directory that says which filesystem


def test_a_start_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not permitted, or out of descriptors: the next try finds things as they were."""

    def refuse(*_: object) -> tuple[int, int]:
        raise OSError(errno.EMFILE, "too many")

    fd = os.open(tmp_path, os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    watcher = FanotifyWatcher([fd], clock=lambda: 1.5)
    for name in ("pipe2",):
        monkeypatch.setattr(os, name, refuse)
    with pytest.raises(OSError, match="too many"):
        watcher.start()
    monkeypatch.undo()
    monkeypatch.setattr(fan, "fanotify_mark", refuse)
    with pytest.raises(OSError, match="too many"):
        watcher.start()
    assert not watcher.alive()
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(fd)


# Where it can be had


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "xfs", "btrfs"])
def test_a_filesystem_of_any_usual_kind(
    mount: Callable[..., Path], watch: Callable[..., FanotifyWatcher], kind: str
) -> None:
    """Marked as a whole, with events of every directory in it."""
    root = mount(kind)
    (root / "a" / "b").mkdir(parents=True)
    fd = os.open(root, os.O_RDONLY)
    assert probe(fd) is None
    os.close(fd)
    watcher = watch(root)
    create(root / "a" / "b" / "f")
    os.rename(root / "a" / "b", root / "c")
    batch = taken(watcher)
    assert hints(batch, root / "c") == {b"f": CHANGED}
    assert hints(batch, root / "a").keys() >= {b"b"}
    assert hints(batch, root).keys() >= {b"c"}


def test_several_filesystems_in_one_watcher(
    tmp_path: Path, mount: Callable[..., Path], watch: Callable[..., FanotifyWatcher]
) -> None:
    """Each directory is told by its filesystem's id too."""
    other, third = mount("tmpfs"), mount("tmpfs")
    watcher = watch(tmp_path, other, third)
    for number, place in enumerate((tmp_path, other, third)):
        create(place / f"{number}")
    batch = taken(watcher)
    assert [hints(batch, place) for place in (other, third)] == [{b"1": CHANGED}, {b"2": CHANGED}]
    assert hints(batch, tmp_path)[b"0"] == CHANGED


def test_a_bind_mount_is_the_same_filesystem(tmp_path: Path, watch: Callable[..., FanotifyWatcher]) -> None:
    """What happens through another path to the same directory is seen, under the same key."""
    for name in ("real", "bound"):
        (tmp_path / name).mkdir()
    bind(tmp_path / "real", tmp_path / "bound")
    try:
        watcher = watch(tmp_path / "bound")
        create(tmp_path / "real" / "one")
        create(tmp_path / "bound" / "two")
        assert hints(taken(watcher), tmp_path / "real") == {b"one": CHANGED, b"two": CHANGED}
        assert key_of(tmp_path / "real") == key_of(tmp_path / "bound")
    finally:
        unmount(tmp_path / "bound")


def test_a_btrfs_subvolume_says_why_not(mount: Callable[..., Path]) -> None:
    """The kernel cannot tell its events apart (EXDEV): the answer is honest, and the top level is not concerned."""
    root = mount("btrfs")
    subprocess.run(["btrfs", "subvolume", "create", root / "sub"], check=True, capture_output=True)
    fd = os.open(root / "sub", os.O_RDONLY)
    answer = probe(fd)
    os.close(fd)
    assert answer == "a btrfs subvolume takes no filesystem mark"


def test_overlayfs_says_why_not_or_works(mount: Callable[..., Path], watch: Callable[..., FanotifyWatcher]) -> None:
    """Where the kernel gives it no file handles, the answer says so; where it does, events come."""
    root = mount("overlay")
    fd = os.open(root, os.O_RDONLY)
    answer = probe(fd)
    os.close(fd)
    if answer is None:
        watcher = watch(root)
        create(root / "f")
        assert hints(taken(watcher), root) == {b"f": CHANGED}
    else:
        assert answer in {"the filesystem has no file handles (overlayfs?)", "the filesystem has no fsid"}


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.EPERM, "CAP_SYS_ADMIN"), (errno.EINVAL, "5.9"), (errno.ENOSYS, "no fanotify")]
)
def test_a_refusal_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str) -> None:
    """Each errno that is expected has its sentence."""

    def refuse(_: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fan, "fanotify_init", refuse)
    fd = os.open(tmp_path, os.O_RDONLY)
    answer = probe(fd)
    os.close(fd)
    assert answer is not None
    assert reason in answer
