"""Observers for watchdog's handlers: what they tell, with which paths, whatever has happened meanwhile."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
from watchdog.events import (
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileClosedNoWriteEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileOpenedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver, EventEmitter, ObservedWatch

from indexer.syscalls import fanotify as fan
from indexer.syscalls import inotify as kernel
from indexer.watch import FanotifyObserver, InotifyObserver, inotify_emitter
from indexer.watch.fanotify_emitter import FanotifyEmitter
from indexer.watch.inotify_emitter import Event, InotifyEmitter
from indexer.watch.reader import queued
from tests.capabilities import needs
from tests.mounts import bind, unmount
from tests.program import REPOSITORY
from tests.waiting import until

PATIENCE = 10.0

Observing = Callable[[], BaseObserver]

BOTH = [pytest.param(FanotifyObserver, marks=needs("CAP_SYS_ADMIN")), InotifyObserver]
EMITTERS = [pytest.param(FanotifyEmitter, marks=needs("CAP_SYS_ADMIN")), InotifyEmitter]


class Heard(FileSystemEventHandler):
    """Collects what a handler is told, without what is told of parents."""

    def __init__(self) -> None:
        self.queue: Queue[FileSystemEvent] = Queue()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Keep it."""
        if not (event.is_directory and event.event_type == "modified"):
            self.queue.put(event)

    def upto(self, last: FileSystemEvent) -> list[FileSystemEvent]:
        """Return all events until `last`, which must come."""
        found: list[FileSystemEvent] = []
        while last not in found:
            try:
                found.append(self.queue.get(timeout=PATIENCE))
            except Empty:
                raise AssertionError(f"{last} did not come, but {found}") from None
        return found


@contextmanager
def observing(kind: Observing, path: str | bytes | Path, **wishes: Any) -> Iterator[Heard]:
    """Observe `path`, recursively unless told otherwise."""
    heard = Heard()
    observer = kind()
    observer.schedule(heard, path, **{"recursive": True, **wishes})  # type: ignore[arg-type]
    observer.start()
    try:
        yield heard
    finally:
        observer.stop()
        observer.join(PATIENCE)
        assert not observer.is_alive()


def of_kind(found: list[FileSystemEvent], *kinds: type[FileSystemEvent]) -> list[FileSystemEvent]:
    """Return the events of these classes."""
    return [event for event in found if isinstance(event, kinds)]


def end(root: Path) -> FileSystemEvent:
    """Make the last event of a test happen, and return it."""
    (root / "end").mkdir()
    return DirCreatedEvent(str(root / "end"))


@pytest.mark.parametrize("kind", BOTH)
def test_a_life_of_a_file_is_told(tmp_path: Path, kind: Observing) -> None:
    """All classes of events of files, a rename with both paths."""
    file, moved = tmp_path / "a", tmp_path / "b"
    with observing(kind, tmp_path) as heard:
        file.write_bytes(b"1")
        heard.upto(FileClosedEvent(str(file)))
        file.read_bytes()
        heard.upto(FileClosedNoWriteEvent(str(file)))
        file.rename(moved)
        heard.upto(FileMovedEvent(str(file), str(moved)))
        moved.unlink()
        assert heard.upto(FileDeletedEvent(str(moved))) == [FileDeletedEvent(str(moved))]
        file.write_bytes(b"1")
        told = heard.upto(FileClosedEvent(str(file)))
        expected = (FileCreatedEvent, FileOpenedEvent, FileModifiedEvent, FileClosedEvent)
        assert [type(event) for event in told] == list(expected)


@pytest.mark.parametrize("kind", EMITTERS)
def test_paths_are_those_of_the_moment_of_the_event(tmp_path: Path, kind: type[EventEmitter]) -> None:
    """All has happened, been moved and been removed before the first event is looked at."""
    (tmp_path / "old" / "sub").mkdir(parents=True)
    for name in ("one", "two"):
        (tmp_path / "old" / "sub" / name).touch()
    queue: Any = Queue()
    emitter = kind(queue, ObservedWatch(str(tmp_path), recursive=True))
    emitter.on_thread_start()
    (tmp_path / "old" / "sub" / "three").touch()
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new" / "sub" / "one").unlink()
    (tmp_path / "new" / "sub").rename(tmp_path / "sub")
    (tmp_path / "sub" / "two").unlink()
    (tmp_path / "sub" / "three").rename(tmp_path / "three")
    (tmp_path / "sub").rmdir()
    (tmp_path / "new").rmdir()
    last = end(tmp_path)
    found: list[FileSystemEvent] = []
    while last not in found:
        emitter.queue_events(0.1)
        while not queue.empty():
            found.append(queue.get()[0])
    emitter._close()  # type: ignore[attr-defined]
    base = str(tmp_path)
    kinds = (FileCreatedEvent, DirMovedEvent, FileMovedEvent, FileDeletedEvent, DirDeletedEvent)
    assert of_kind(found, *kinds) == [
        FileCreatedEvent(f"{base}/old/sub/three"),
        DirMovedEvent(f"{base}/old", f"{base}/new"),
        FileDeletedEvent(f"{base}/new/sub/one"),
        DirMovedEvent(f"{base}/new/sub", f"{base}/sub"),
        FileDeletedEvent(f"{base}/sub/two"),
        FileMovedEvent(f"{base}/sub/three", f"{base}/three"),
        DirDeletedEvent(f"{base}/sub"),
        DirDeletedEvent(f"{base}/new"),
    ]


def brief(directory: str) -> None:
    """Make a file and remove it at once."""
    file = Path(directory, "brief")
    file.touch()
    file.unlink()


@pytest.mark.parametrize("kind", EMITTERS)
def test_a_directory_that_was_told_is_watched(tmp_path: Path, kind: type[EventEmitter]) -> None:
    """Whatever its listener does in it at once is told, also what is gone before anybody could list it."""

    class Eager(Queue):  # type: ignore[type-arg]
        def put(self, item: Any, *_: Any, **__: Any) -> None:
            super().put(item)
            if isinstance(item[0], DirCreatedEvent):
                brief(os.fsdecode(item[0].src_path))

    queue: Any = Eager()
    emitter = kind(queue, ObservedWatch(str(tmp_path), recursive=True))
    emitter.on_thread_start()
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    wanted = {FileDeletedEvent(f"{tmp_path}/{each}/brief") for each in ("a", "a/b", "a/b/c")}
    deadline = time.monotonic() + PATIENCE
    while wanted:
        assert time.monotonic() < deadline, f"not told: {wanted}"
        emitter.queue_events(0.1)
        while not queue.empty():
            wanted.discard(queue.get()[0])
    emitter._close()  # type: ignore[attr-defined]


def mirror_of(root: Path, kind: type[EventEmitter], happens: Callable[[], None], within: Any = None) -> set[str]:
    """Return the paths, relative to `root`, that whoever believes the events of `kind` takes to be there.

    All of `happens` has happened before the first event is read. `within(emitter)` may stage something for later.
    """
    queue: Any = Queue()
    emitter = kind(queue, ObservedWatch(str(root), recursive=True))
    have = {str(path) for path in root.rglob("*")}
    emitter.on_thread_start()
    happens()
    if within is not None:
        within(emitter)
    deadline = time.monotonic() + PATIENCE
    last = None
    while last is None or str(root / "end") not in have:
        assert time.monotonic() < deadline, have
        emitter.queue_events(0.1)
        while not queue.empty():
            event = queue.get()[0]
            path, target = str(event.src_path), str(event.dest_path)
            below = {each for each in have if each == path or each.startswith(f"{path}/")}
            if event.event_type == "created":
                have.add(path)
            elif event.event_type == "deleted":
                have -= below
            elif event.event_type == "moved":
                have = (have - below) | {target + each[len(path) :] for each in below} | {target}
        if last is None and not emitter._events and not queued(queue_of(emitter)):  # type: ignore[attr-defined]
            last = end(root)
    emitter._close()  # type: ignore[attr-defined]
    return {each.removeprefix(f"{root}/") for each in have}


def queue_of(emitter: Any) -> int:
    """Return the descriptor that an emitter reads from."""
    return int(emitter._group if isinstance(emitter, FanotifyEmitter) else emitter._instance)


def test_the_kernel_s_queue_stays_short_while_events_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds 16,384 events and drops what comes then: it is emptied in between, whatever waits to be told."""
    monkeypatch.setattr(inotify_emitter, "READ_EVERY", 10)
    held: list[int] = []

    class Busy(Queue):  # type: ignore[type-arg]
        def put(self, item: Any, *_: Any, **__: Any) -> None:
            super().put(item)
            if isinstance(item[0], FileCreatedEvent) and "first" in os.fsdecode(item[0].src_path):
                os.mknod(os.fsdecode(item[0].src_path).replace("first", "more"))
                held.append(queued(emitter._instance))

    queue: Any = Busy()
    emitter = InotifyEmitter(queue, ObservedWatch(str(tmp_path), recursive=True), event_filter=[FileCreatedEvent])
    emitter.on_thread_start()
    for number in range(300):
        os.mknod(tmp_path / f"first{number:03}")

    def all_told() -> bool:
        emitter.queue_events(0.01)
        return bool(queue.qsize() == 600)

    until(all_told, "all being told")
    emitter._close()
    assert max(held) <= 10 * (kernel.EVENT.size + 16)
    assert len(held) == 300


@pytest.mark.parametrize("kind", EMITTERS)
def test_a_name_that_is_given_again_means_another_directory(tmp_path: Path, kind: type[EventEmitter]) -> None:
    """What is at a place when its event is looked at may have come later: it is not taken for what was there then."""

    def happens() -> None:
        for number in range(3):
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / f"first{number}").touch()
            (tmp_path / "a").rename(tmp_path / f"b{number}")
        (tmp_path / "a").mkdir()
        (tmp_path / "b1").rename(tmp_path / "a" / "c")
        (tmp_path / "a" / "second").touch()

    def later(emitter: Any) -> None:
        until(lambda: emitter.queue_events(0.01) or not queued(queue_of(emitter)), "the events being read")
        for name in ("a", "a/c", "b0", "b2"):
            (tmp_path / name / "third").touch()

    assert mirror_of(tmp_path, kind, happens, later) == tree_of(tmp_path)


@pytest.mark.parametrize("kind", EMITTERS)
def test_what_moves_into_a_directory_just_made_is_moved(tmp_path: Path, kind: type[EventEmitter]) -> None:
    """Nobody watched that one yet, so no arrival is reported: it is found there, with all that was known of it."""
    (tmp_path / "old" / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "old" / "sub" / "deep" / "file").touch()

    def happens() -> None:
        (tmp_path / "new").mkdir()
        (tmp_path / "old" / "sub").rename(tmp_path / "new" / "sub")
        (tmp_path / "new" / "sub" / "deep" / "other").touch()

    assert mirror_of(tmp_path, kind, happens) == tree_of(tmp_path)


@pytest.mark.parametrize("kind", EMITTERS)
def test_a_removal_after_renames_comes_after_them(tmp_path: Path, kind: type[EventEmitter]) -> None:
    """Also where the kernel has merged it with the creation, since both name the same place."""

    def happens() -> None:
        for name in ("directory", "file"):
            path = tmp_path / name
            path.mkdir() if name == "directory" else path.touch()
            path.rename(tmp_path / "elsewhere").rename(path)
            path.rmdir() if name == "directory" else path.unlink()

    assert mirror_of(tmp_path, kind, happens) == {"end"}


def test_what_moves_while_it_is_listed_is_listed_again(tmp_path: Path) -> None:
    """A directory above goes elsewhere between listing and watching: what could not be reached is watched later."""

    def happens() -> None:
        (tmp_path / "top" / "sub" / "deep").mkdir(parents=True)

    def rename_first(emitter: Any) -> None:
        read = emitter._waiting.read
        top = tmp_path / "top"

        def renaming() -> None:
            if emitter._tree.by_watch.get(2) is not None and top.exists():
                top.rename(tmp_path / "moved")
            read()

        emitter._waiting.read = renaming
        until(lambda: emitter.queue_events(0.01) or not top.exists(), "the directory being listed")
        (tmp_path / "moved" / "sub" / "deep" / "file").touch()

    assert mirror_of(tmp_path, InotifyEmitter, happens, rename_first) == tree_of(tmp_path)


def tree_of(root: Path) -> set[str]:
    """Return the paths that are there, relative to `root`."""
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.mark.parametrize("kind", BOTH)
def test_trees_come_and_go_across_the_border(tmp_path: Path, kind: Observing) -> None:
    """In: created, with all below it. Out: deleted, and silent from then on. Back in: created again."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (outside / "tree" / "sub").mkdir(parents=True)
    root.mkdir()
    with observing(kind, root) as heard:
        (outside / "tree").rename(root / "tree")
        told = heard.upto(DirCreatedEvent(str(root / "tree" / "sub"), is_synthetic=True))
        assert DirCreatedEvent(str(root / "tree")) in told
        (root / "tree" / "sub" / "in").touch()
        heard.upto(FileClosedEvent(str(root / "tree" / "sub" / "in")))
        (root / "tree").rename(outside / "tree")
        heard.upto(DirDeletedEvent(str(root / "tree")))
        (outside / "tree" / "sub" / "silent").touch()
        (outside / "tree").rename(root / "again")
        told = heard.upto(DirCreatedEvent(str(root / "again")))
        assert not any("silent" in str(event.src_path) for event in told)
        heard.upto(FileCreatedEvent(str(root / "again" / "sub" / "silent"), is_synthetic=True))
        (root / "again" / "sub" / "heard").touch()
        heard.upto(FileCreatedEvent(str(root / "again" / "sub" / "heard")))


@pytest.mark.parametrize("kind", BOTH)
def test_without_recursion_only_the_directory_itself_is_told(tmp_path: Path, kind: Observing) -> None:
    """Also renames into a directory below are then deletions."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").touch()
    with observing(kind, tmp_path, recursive=False) as heard:
        (tmp_path / "sub" / "silent").touch()
        (tmp_path / "sub").chmod(0o700)
        (tmp_path / "file").rename(tmp_path / "sub" / "file")
        told = heard.upto(end(tmp_path))
    kinds = (FileCreatedEvent, FileDeletedEvent, FileMovedEvent, FileOpenedEvent, DirAttribEvent)
    assert of_kind(told, *kinds) == [DirAttribEvent(str(tmp_path / "sub")), FileDeletedEvent(str(tmp_path / "file"))]


@pytest.mark.parametrize("kind", BOTH)
def test_a_single_file_may_be_watched(tmp_path: Path, kind: Observing) -> None:
    """Its neighbours are not told."""
    (tmp_path / "file").touch()
    with observing(kind, tmp_path / "file") as heard:
        (tmp_path / "neighbour").touch()
        (tmp_path / "file").write_bytes(b"1")
        told = heard.upto(FileClosedEvent(str(tmp_path / "file")))
    assert {event.src_path for event in told} == {str(tmp_path / "file")}


@pytest.mark.parametrize("kind", BOTH)
def test_bytes_give_bytes(tmp_path: Path, kind: Observing) -> None:
    """And undecodable names come through, in either type."""
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9\n")
    with observing(kind, os.fsencode(tmp_path)) as heard, observing(kind, str(tmp_path)) as text:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        heard.upto(FileCreatedEvent(name))
        text.upto(FileCreatedEvent(os.fsdecode(name)))


@pytest.mark.parametrize("kind", BOTH)
def test_a_filter_lets_only_its_classes_through(tmp_path: Path, kind: Observing) -> None:
    """Renames stay renames, though nothing else was asked for."""
    (tmp_path / "old").mkdir()
    with observing(kind, tmp_path, event_filter=[FileMovedEvent, DirCreatedEvent]) as heard:
        (tmp_path / "old" / "file").write_bytes(b"1")
        (tmp_path / "old").rename(tmp_path / "new")
        (tmp_path / "new" / "file").rename(tmp_path / "file")
        told = heard.upto(end(tmp_path))
    assert of_kind(told, FileMovedEvent)[-1] == FileMovedEvent(str(tmp_path / "new" / "file"), str(tmp_path / "file"))
    assert {type(event) for event in told} <= {FileMovedEvent, DirCreatedEvent}


@pytest.mark.parametrize("kind", BOTH)
def test_several_watches_on_one_tree(tmp_path: Path, kind: Observing) -> None:
    """Each handler is told of its own, under the path it gave."""
    (tmp_path / "sub").mkdir()
    whole, below = Heard(), Heard()
    observer = kind()
    observer.schedule(whole, str(tmp_path), recursive=True)
    observer.start()
    watch = observer.schedule(below, os.path.join(tmp_path, "sub", "..", "sub"))
    (tmp_path / "sub" / "file").touch()
    whole.upto(FileCreatedEvent(str(tmp_path / "sub" / "file")))
    below.upto(FileCreatedEvent(os.path.join(tmp_path, "sub", "..", "sub", "file")))
    observer.unschedule(watch)
    (tmp_path / "sub" / "late").touch()
    whole.upto(FileCreatedEvent(str(tmp_path / "sub" / "late")))
    observer.stop()
    observer.join(PATIENCE)
    assert not any("late" in str(event.src_path) for event in below.queue.queue)


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("kind", BOTH)
def test_a_deleted_root_is_told_and_ends_the_emitter(tmp_path: Path, kind: Observing, recursive: bool) -> None:
    """As with watchdog's own."""
    root = tmp_path / "root"
    root.mkdir()
    heard, observer = Heard(), kind()
    observer.schedule(heard, str(root), recursive=recursive)
    observer.start()
    root.rmdir()
    heard.upto(DirDeletedEvent(str(root)))
    until(lambda: not any(emitter.is_alive() for emitter in observer.emitters), "the emitter ends")
    observer.stop()
    observer.join(PATIENCE)


@pytest.mark.parametrize("kind", BOTH)
def test_a_renamed_root_goes_on_under_its_old_name(tmp_path: Path, kind: Observing) -> None:
    """As with watchdog's own: the watch stays with the directory."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    with observing(kind, str(root)) as heard:
        root.rename(tmp_path / "moved")
        (tmp_path / "moved" / "sub" / "file").touch()
        heard.upto(FileCreatedEvent(str(root / "sub" / "file")))


@pytest.mark.parametrize("kind", BOTH)
def test_symbolic_links_are_followed_where_asked(tmp_path: Path, kind: Observing) -> None:
    """What lies behind them is told under the path that leads through them; otherwise it is not ours."""
    root, other = tmp_path / "root", tmp_path / "other"
    for path in (root, other / "sub"):
        path.mkdir(parents=True)
    (root / "link").symlink_to(other)
    with observing(kind, root, follow_symlink=True) as heard, observing(kind, root) as unlinked:
        (other / "sub" / "file").touch()
        heard.upto(FileCreatedEvent(str(root / "link" / "sub" / "file")))
        last = end(root)
        heard.upto(last)
        assert not any("file" in str(event.src_path) for event in unlinked.upto(last))


@pytest.mark.parametrize("kind", BOTH)
def test_a_path_that_is_not_there_is_an_error(tmp_path: Path, kind: Observing) -> None:
    """At once where the observer runs, and it can be tried again."""
    observer = kind()
    observer.start()
    try:
        with pytest.raises(FileNotFoundError):
            observer.schedule(Heard(), str(tmp_path / "missing"), recursive=True)
        (tmp_path / "missing").mkdir()
        heard = Heard()
        observer.schedule(heard, str(tmp_path / "missing"), recursive=True)
        heard.upto(end(tmp_path / "missing"))
    finally:
        observer.stop()
        observer.join(PATIENCE)


@pytest.mark.parametrize("kind", BOTH)
def test_the_limit_that_was_reached_is_named(tmp_path: Path, kind: Observing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the user's queues the sysctl with its value, of the process's descriptors how to raise them."""
    module = fan if kind is FanotifyObserver else kernel
    with monkeypatch.context() as patch:
        patch.setattr(module, "_init", used_up)
        with pytest.raises(OSError, match=r"raise fs\.\w+\.max_user_(groups|instances) \([1-9]\d*\)"):
            refused(kind, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    root = os.open(tmp_path, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (root + 1, hard))
    try:
        with pytest.raises(OSError, match="ulimit -n"):
            (fan.fanotify_init if module is fan else kernel.inotify_init)(*((0,) if module is fan else ()))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(root)


def used_up(*_: object) -> int:
    """Fail as the kernel does when a user has all the queues that are allowed."""
    ctypes.set_errno(errno.EMFILE)
    return -1


def refused(kind: Observing, root: Path) -> None:
    """Start an observer that cannot start."""
    observer = kind()
    observer.schedule(Heard(), root)
    observer.start()


@pytest.mark.parametrize("kind", BOTH)
def test_observers_give_everything_back(tmp_path: Path, kind: Observing) -> None:
    """No descriptor stays open, also of those that never ran and those whose root went away."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        root = tmp_path / "root"
        root.mkdir()
        with observing(kind, root) as heard:
            heard.upto(end(root))
        with observing(kind, root):
            shutil.rmtree(root)
        kind().stop()
    assert len(os.listdir("/proc/self/fd")) == before


@needs("CAP_SYS_ADMIN")
def test_setting_up_does_not_depend_on_the_size_of_the_tree(tmp_path: Path) -> None:
    """One mark: nothing is opened or listed for it."""
    for number in range(300):
        (tmp_path / f"{number}").mkdir()
    with observing(FanotifyObserver, tmp_path) as heard:
        told = heard.upto(end(tmp_path))
        assert told == [DirCreatedEvent(str(tmp_path / "end"))]


@needs("CAP_SYS_ADMIN")
def test_what_lies_on_other_mounts_below_is_told(tmp_path: Path, mount: Callable[..., Path]) -> None:
    """Another filesystem below the root, and a bind mount of the root's own."""
    place, target = mount("tmpfs"), tmp_path / "elsewhere"
    bound = place.parent / "bound"
    for path in (target, bound):
        path.mkdir()
    bind(target, bound)
    try:
        with observing(FanotifyObserver, place.parent) as heard:
            (place / "file").touch()
            heard.upto(FileCreatedEvent(str(place / "file")))
            (target / "file").touch()
            heard.upto(FileCreatedEvent(str(bound / "file")))
    finally:
        unmount(bound)


@needs("CAP_SYS_ADMIN")
def test_paths_longer_than_a_page(tmp_path: Path) -> None:
    """The kernel does not say them; each component is learnt by itself."""
    here = os.open(tmp_path, os.O_RDONLY)
    name = "x" * 200
    for _ in range(30):
        os.mkdir(name, dir_fd=here)
        deeper = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    with observing(FanotifyObserver, tmp_path) as heard:
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        heard.upto(FileCreatedEvent(os.path.join(tmp_path, *[name] * 30, "file")))
    os.close(here)


@needs("CAP_SYS_ADMIN")
def test_before_linux_5_17_renames_are_paired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without FAN_RENAME: the disappearance and the appearance that follows it."""
    init = fan.fanotify_init

    def older(flags: int) -> int:
        if flags & fan.FAN_REPORT_TARGET_FID:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return init(flags)

    monkeypatch.setattr(fan, "fanotify_init", older)
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "a").mkdir(parents=True)
    outside.mkdir()
    with observing(FanotifyObserver, root) as heard:
        (root / "a").rename(root / "b")
        heard.upto(DirMovedEvent(str(root / "a"), str(root / "b")))
        (root / "b" / "file").touch()
        heard.upto(FileClosedEvent(str(root / "b" / "file")))
        (root / "b" / "file").rename(outside / "file")
        heard.upto(FileDeletedEvent(str(root / "b" / "file")))
        (outside / "file").rename(root / "file")
        heard.upto(FileCreatedEvent(str(root / "file")))


@needs("CAP_SYS_ADMIN")
@pytest.mark.parametrize("code", [errno.EPERM, errno.EXDEV])
def test_where_fanotify_is_not_to_be_had_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """An error at `start`, and nothing stays open."""

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fan, "fanotify_init" if code == errno.EPERM else "fanotify_mark", refuse)
    before = len(os.listdir("/proc/self/fd"))
    observer = FanotifyObserver()
    observer.schedule(Heard(), str(tmp_path), recursive=True)
    with pytest.raises(OSError, match=os.strerror(code)):
        observer.start()
    observer.stop()
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_overflow_is_logged_and_directories_are_watched_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Watchdog has no event for it; afterwards everything that is there is watched, and nothing that is not."""
    (tmp_path / "gone").mkdir()
    queue: Any = Queue()
    emitter = InotifyEmitter(queue, ObservedWatch(str(tmp_path), recursive=True))
    emitter.on_thread_start()
    try:
        (tmp_path / "gone").rmdir()
        (tmp_path / "new").mkdir()
        emitter._read(0)
        emitter._events.clear()
        emitter._events.append(Event(-1, kernel.IN_Q_OVERFLOW, 0, b""))
        with caplog.at_level(logging.WARNING):
            emitter.queue_events(0)
        assert "some events were lost" in caplog.text
        assert set(emitter._tree.root.children) == {b"new"}
    finally:
        emitter._close()


def test_watchdog_is_imported_only_for_its_observers() -> None:
    """The watchers of the service start without it."""
    program = (
        "import sys, indexer.watch, indexer.watch.fanotify, indexer.watch.inotify\n"
        "assert 'watchdog' not in sys.modules\n"
        "from indexer.watch import FanotifyObserver\n"
        "assert 'watchdog' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=REPOSITORY)
