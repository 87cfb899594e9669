"""watchdog's emitter over an inotify of our own: renames in constant time, and gaps that are told.

Both halves of a rename are in the queue when it has returned, so they are paired by what has been read, without
holding anything back.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from watchdog.observers.api import DEFAULT_EMITTER_TIMEOUT, EventEmitter

from indexer.syscalls import inotify as kernel
from indexer.watch.reader import queued
from indexer.watch.translation import Translation, wanted
from indexer.watch.waiting import Waiting
from indexer.watch.watched_tree import Directory, Found, WatchedTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import EventQueue, ObservedWatch

log = logging.getLogger(__name__)

ALWAYS = kernel.IN_CREATE | kernel.IN_DELETE | kernel.IN_MOVED_FROM | kernel.IN_MOVED_TO
BUFFER = 1 << 20
READ_EVERY = 500
"""Events told between two reads: the kernel's queue is short (16,384 by default), ours is not."""
LISTED = kernel.IN_OPEN | kernel.IN_CLOSE_NOWRITE
PAIRING = 0.01
"""Seconds to wait for the second half of a rename that was read while it was going on."""


class Event(NamedTuple):
    """struct inotify_event."""

    watch: int
    mask: int
    cookie: int
    name: bytes

    @property
    def directory(self) -> bool:
        """It happened to a directory."""
        return bool(self.mask & kernel.IN_ISDIR)


class InotifyEmitter(EventEmitter):
    """Queues watchdog's events for one watch."""

    full = False
    """Renames across the border of the watch stay renames, as with watchdog's `generate_full_events`."""

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        timeout: float = DEFAULT_EMITTER_TIMEOUT,
        event_filter: list[type[FileSystemEvent]] | None = None,
    ) -> None:
        """Take what watchdog's own emitters take; `timeout` is in seconds."""
        super().__init__(event_queue, watch, timeout=timeout, event_filter=event_filter)
        self._translation = Translation(watch, self.queue_event, full=self.full)
        self._events: deque[Event] = deque()
        self._arrivals: dict[int, Event] = {}
        self._told: set[tuple[int, bytes]] = set()
        self._overtaken: set[tuple[int, bytes]] = set()
        self._waiting = Waiting(lambda: self._read(0))
        self._instance = -1
        self._wake_read, self._wake_write = -1, -1
        self._closing = threading.Lock()
        self._tree: WatchedTree

    # What watchdog calls

    def on_thread_start(self) -> None:
        """Watch the directory and, for a recursive watch, all below it.

        Raises OSError: ENOENT, ENOTDIR, EACCES for the path itself, EMFILE (instances), ENOSPC (watches).
        """
        watch = self.watch
        mask = ALWAYS | wanted(self._event_filter)
        self._instance = kernel.inotify_init()
        self._tree = WatchedTree(
            self._instance,
            mask,
            recursive=watch.is_recursive,
            follow=watch.follow_symlink,
            waiting=self._waiting,
        )
        try:
            self._tree.begin(os.fsencode(watch.path))
        except BaseException:
            self._close()
            raise
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC)

    def on_thread_stop(self) -> None:
        """Wake the thread; it gives back what it holds itself."""
        with self._closing:
            if self._wake_write >= 0:
                os.write(self._wake_write, b"w")

    def run(self) -> None:
        """Emit until stopped, then close everything."""
        try:
            super().run()
        finally:
            self._close()

    def queue_events(self, timeout: float) -> None:
        """Queue what has happened, waiting up to `timeout` seconds for something."""
        if self._instance < 0:  # a subclass that starts otherwise
            self.stopped_event.wait(timeout)
            return
        if not self._events:
            self._read(timeout)
        told = 0
        while self._events and self.should_keep_running():
            told += 1
            if not told % READ_EVERY:
                self._read(0)
            event = self._events.popleft()
            self._waiting.done(event.mask, (event.watch, event.name))
            if event.mask & kernel.IN_Q_OVERFLOW:
                log.warning("inotify's queue overflowed below %r; some events were lost", self.watch.path)
                self._tree.begin_again()
            elif (directory := self._tree.by_watch.get(event.watch)) is not None:
                self._tell(event, directory)
        if (self._told or self._overtaken) and not self._events and not queued(self._instance):
            self._told.clear()  # what was listed before its event came: none comes any more
            self._overtaken.clear()

    # Reading

    def _read(self, timeout: float) -> None:
        """Read what the kernel holds, waiting up to `timeout` seconds for something."""
        if timeout:
            poller = select.poll()
            poller.register(self._instance, select.POLLIN)
            poller.register(self._wake_read, select.POLLIN)
            poller.poll(timeout * 1000)
        try:
            data = os.read(self._instance, BUFFER)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, cookie, length = kernel.EVENT.unpack_from(data, offset)
            begin = offset + kernel.EVENT.size
            offset = begin + length
            if mask & kernel.IN_ISDIR and mask & LISTED:
                continue  # as our own listings raise; nobody is told
            event = Event(watch, mask, cookie, data[begin:offset].rstrip(b"\0"))
            if mask & kernel.IN_MOVED_TO:
                self._arrivals[cookie] = event
            self._events.append(event)
            self._waiting.add(mask, (watch, event.name))

    def _close(self) -> None:
        with self._closing:
            for fd in (self._instance, self._wake_read, self._wake_write):
                if fd >= 0:
                    os.close(fd)
            self._instance = self._wake_read = self._wake_write = -1

    # Telling

    def _tell(self, event: Event, directory: Directory) -> None:
        mask = event.mask
        if mask & (kernel.IN_DELETE_SELF | kernel.IN_IGNORED):
            self._ended(event, directory)
        elif mask & kernel.IN_MOVED_FROM:
            self._departed(event, directory)
        elif mask & kernel.IN_MOVED_TO:
            if self._arrivals.pop(event.cookie, None) is not None:
                self._arrived(event, directory)
        elif mask & kernel.IN_CREATE and (event.watch, event.name) in self._told:
            self._told.discard((event.watch, event.name))
        else:
            path = os.path.join(directory.path, event.name) if event.name else directory.path
            made = event.directory and mask & kernel.IN_CREATE
            content = self._tree.add(directory, event.name) if made else iter(())
            self._translation.happened(mask, path, directory=event.directory)
            self._came(content)  # (where a directory was deleted, the kernel ends its watch: `_ended`)

    def _ended(self, event: Event, directory: Directory) -> None:
        """The kernel removed a watch; that of the root: there is nothing left to tell but that."""
        if directory is not self._tree.root:
            if event.mask & kernel.IN_IGNORED:
                self._tree.drop(directory)
            return
        if event.mask & kernel.IN_DELETE_SELF:
            self._translation.gone(directory.path)
        else:
            log.warning("%r was unmounted and is watched no longer", self.watch.path)
        self.stop()

    def _came(self, content: Iterator[Found]) -> None:
        """Tell what came into a new directory before it was watched."""
        for directory, each, is_directory, before in content:
            path = os.path.join(directory.path, each)
            if before is not None:
                self._overtaken.add(before[:2])
                self._translation.moved(before[2], path, directory=True)
                continue
            self._told.add((directory.watch, each))
            self._translation.happened(kernel.IN_CREATE, path, directory=is_directory)

    def _departed(self, event: Event, directory: Directory) -> None:
        if event.cookie not in self._arrivals and not self._events:
            self._read(PAIRING)
        arrival = self._arrivals.pop(event.cookie, None)
        if event.directory and arrival is None and (event.watch, event.name) in self._overtaken:
            self._overtaken.discard((event.watch, event.name))
            return  # told when it was found at its new place
        source = os.path.join(directory.path, event.name)
        moved = directory.children.get(event.name) if event.directory else None
        to = self._tree.by_watch.get(arrival.watch) if arrival is not None else None
        if arrival is None or to is None:
            if moved is not None:
                self._tree.drop(moved)
            self._translation.moved(source, None, directory=event.directory)
            return
        if event.directory:
            self._tree.move(moved, to, arrival.name)
        target = os.path.join(to.path, arrival.name)
        there = not self._waiting.leaves(to.watch, arrival.name)
        self._translation.moved(source, target, directory=event.directory, there=there)

    def _arrived(self, event: Event, directory: Directory) -> None:
        if event.directory:
            self._watch_all(directory, event.name)
        target, there = os.path.join(directory.path, event.name), not self._waiting.leaves(event.watch, event.name)
        self._translation.moved(None, target, directory=event.directory, there=there)

    def _watch_all(self, parent: Directory, name: bytes) -> None:
        for _ in self._tree.add(parent, name):
            pass


class InotifyFullEmitter(InotifyEmitter):
    """The same with renames across the border of the watch told as renames, with an empty path outside."""

    full = True
