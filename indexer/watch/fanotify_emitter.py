"""watchdog's emitter over fanotify: set up in microseconds whatever the number of directories, and nothing lost.

A recursive watch marks the whole filesystem and keeps what lies below its path; another one marks its directory. The
events of one object that nobody has read yet come merged: they are told in the order in which they can have happened.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import sys
import threading
from collections import Counter, deque
from typing import TYPE_CHECKING

from watchdog.observers.api import DEFAULT_EMITTER_TIMEOUT, EventEmitter

from indexer.syscalls import fanotify as fan
from indexer.watch.fanotify_event import Event, parse
from indexer.watch.places import Pending, Place, Places
from indexer.watch.roots import Root, roots_of
from indexer.watch.translation import Translation, wanted

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import EventQueue, ObservedWatch

log = logging.getLogger(__name__)

INIT = fan.FAN_CLASS_NOTIF | fan.FAN_CLOEXEC | fan.FAN_NONBLOCK | fan.FAN_REPORT_DFID_NAME | fan.FAN_UNLIMITED_QUEUE
TARGETS = fan.FAN_REPORT_FID | fan.FAN_REPORT_TARGET_FID
ALWAYS = fan.FAN_CREATE | fan.FAN_DELETE | fan.FAN_ONDIR
BUFFER = 1 << 20


class FanotifyEmitter(EventEmitter):
    """Queues watchdog's events for one watch. Needs Linux ≥ 5.9 and CAP_SYS_ADMIN; better from 5.17 on."""

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
        self._renames: Counter[bytes] = Counter()
        self._removals: dict[bytes, list[Event]] = {}
        self._pending = Pending()
        self._places = Places(self._pending, self._read)
        self._group = -1
        self._wake_read, self._wake_write = -1, -1
        self._roots: list[Root] = []
        self._closing = threading.Lock()

    # What watchdog calls

    def on_thread_start(self) -> None:
        """Open the watched directory and mark it.

        Raises OSError: ENOENT, ENOTDIR for the path; EPERM without CAP_SYS_ADMIN, EINVAL before Linux 5.9; EXDEV on a
        btrfs subvolume and EOPNOTSUPP on overlayfs for recursive watches.
        """
        watch = self.watch
        path = os.fsencode(watch.path)
        self._roots = roots_of(path, recursive=watch.is_recursive, follow=watch.follow_symlink)
        try:
            self._mark()
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
        if self._group < 0:  # a subclass that starts otherwise
            self.stopped_event.wait(timeout)
            return
        if not self._events:
            self._read(timeout)
        while self._events and self.should_keep_running():
            event = self._events.popleft()
            if event.mask & fan.FAN_Q_OVERFLOW:
                log.warning("the kernel had no memory for further events below %r; some were lost", self.watch.path)
                self._places.forget()
            elif event.to is not None or event.mask & fan.FAN_RENAME:
                self._renamed(event)
                self._removed_after(event)
            elif event.mask & (fan.FAN_MOVED_FROM | fan.FAN_MOVED_TO):
                self._half_renamed(event)
            elif event.place is not None:
                self._happened(event, event.place)

    # Setting up

    def _mark(self) -> None:
        mask = ALWAYS | wanted(self._event_filter)
        try:
            self._group = fan.fanotify_init(INIT | TARGETS)
            mask |= fan.FAN_RENAME
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._group = fan.fanotify_init(INIT)  # before Linux 5.17: what was renamed to what is a guess
            mask |= fan.FAN_MOVED_FROM | fan.FAN_MOVED_TO
        places = self._places
        for root in self._roots:
            places.roots[root.key] = root.path
            if self.watch.is_recursive:
                fan.fanotify_mark(self._group, fan.FAN_MARK_ADD | fan.FAN_MARK_FILESYSTEM, mask, root.fd)
                places.mounts[int.from_bytes(root.key[:8], sys.byteorder)] = root.fd
            else:
                mask |= fan.FAN_EVENT_ON_CHILD | fan.FAN_DELETE_SELF
                fan.fanotify_mark(self._group, fan.FAN_MARK_ADD, mask, root.fd)
                root.close()  # held open, its removal would never be told

    def _close(self) -> None:
        for root in self._roots:
            root.close()
        with self._closing:
            for fd in (self._group, self._wake_read, self._wake_write):
                if fd >= 0:
                    os.close(fd)
            self._group = self._wake_read = self._wake_write = -1

    # Reading

    def _read(self, timeout: float) -> None:
        """Read what the kernel holds, waiting up to `timeout` seconds for something."""
        poller = select.poll()
        poller.register(self._group, select.POLLIN)
        if timeout:
            poller.register(self._wake_read, select.POLLIN)
        if not any(fd == self._group for fd, _ in poller.poll(timeout * 1000)):
            return
        try:
            self._take_up(os.read(self._group, BUFFER))
        except BlockingIOError:
            return

    def _take_up(self, data: bytes) -> None:
        for event in parse(data):
            if self._matters(event):
                self._events.append(event)
                if event.mask & fan.FAN_RENAME and event.target is not None:
                    self._renames[event.target] += 1
                left = event.directory and event.mask & (fan.FAN_DELETE | fan.FAN_RENAME)
                if left and event.target is not None and event.place is not None:
                    self._pending.add(event.target, event.place)

    def _matters(self, event: Event) -> bool:
        """Drop what is known to lie elsewhere as soon as it is read: the whole filesystem may be busy."""
        foreign = self._places.foreign
        if event.target in self._places.roots or event.mask & fan.FAN_Q_OVERFLOW:
            return True
        return (event.place is not None and event.place[0] not in foreign) or (
            event.to is not None and event.to[0] not in foreign
        )

    # Telling

    def _happened(self, event: Event, place: Place) -> None:
        event = self._merged(event)
        key, name = place
        removed = event.mask & (fan.FAN_DELETE if event.target else fan.FAN_DELETE_SELF)
        subject = event.target or key
        if removed and event.directory and subject == self._roots[0].key:
            self._translation.gone(self._roots[0].path)
            self.stop()
            return
        path = self._path(key, name)
        if path is not None:
            twice = self.watch.is_recursive and subject not in self._places.roots
            self._translation.happened(event.mask & ~fan.FAN_DELETE_SELF, path, directory=event.directory, twice=twice)
        if not event.directory:
            if event.mask & fan.FAN_CREATE and path is not None and self.watch.follow_symlink:
                self._follow(path)
        elif event.target is not None:
            if event.mask & fan.FAN_DELETE:
                self._pending.done(event.target)
                self._places.removed(event.target)
            elif event.mask & fan.FAN_CREATE and path is not None:
                self._places.created(event.target, place)

    def _merged(self, event: Event) -> Event:
        """Put off a removal that was merged with what happened before the renames that wait: it came after them."""
        if not (event.target is not None and event.mask & fan.FAN_DELETE and event.mask & fan.FAN_CREATE):
            return event
        if not self._events:
            self._read(0)
        if event.target not in self._renames:
            return event
        self._removals.setdefault(event.target, []).append(
            event._replace(mask=event.mask & (fan.FAN_DELETE | fan.FAN_ONDIR))
        )
        return event._replace(mask=event.mask & ~fan.FAN_DELETE)

    def _removed_after(self, event: Event) -> None:
        """A rename was told: what was put off until the last one of this object comes now."""
        if event.target is None or event.target not in self._renames:
            return
        self._renames[event.target] -= 1
        if self._renames[event.target] > 0:
            return
        del self._renames[event.target]
        for removal in self._removals.pop(event.target, ()):
            if removal.place is not None:
                self._happened(removal, removal.place)

    def _renamed(self, event: Event) -> None:
        """Both places are known, or one of them where only one directory is marked."""
        source = self._path(*event.place) if event.place is not None else None
        if event.directory and event.target is not None:
            if event.place is not None:
                self._pending.done(event.target)
            if event.to is not None:
                self._places.moved(event.target, event.to)
            if event.target in self._places.roots:
                return  # the watch stays with the directory, and goes on to call it what it was called
        target = self._path(*event.to) if event.to is not None else None
        there = event.target is None or self._pending.place(event.target) is None
        self._translation.moved(source, target, directory=event.directory, there=there)

    def _half_renamed(self, event: Event) -> None:
        """Before Linux 5.17: a disappearance and the appearance that follows it at once are taken for one rename."""
        if event.directory:
            self._places.forget()
        if event.place is None:
            return
        if event.mask & fan.FAN_MOVED_FROM and event.mask & fan.FAN_MOVED_TO:
            return  # merged: there and back again
        if not self._events:
            self._read(0.01)
        place = self._path(*event.place)
        if event.mask & fan.FAN_MOVED_TO:
            self._translation.moved(None, place, directory=event.directory)
            return
        after = self._events[0] if self._events else None
        if after and after.place and after.mask & fan.FAN_MOVED_TO and after.directory == event.directory:
            self._events.popleft()
            self._translation.moved(place, self._path(*after.place), directory=event.directory)
        else:
            self._translation.moved(place, None, directory=event.directory)

    def _path(self, key: bytes, name: bytes) -> bytes | None:
        directory = self._places.path(key) if self.watch.is_recursive else self._near(key)
        if directory is None or name == b".":
            return directory
        return os.path.join(directory, name)

    def _near(self, key: bytes) -> bytes | None:
        """Return the path of the one directory that is marked, or of one directly in it whose attributes changed."""
        places, root = self._places, self._roots[0]
        if key == root.key:
            return root.path
        try:
            fd = os.open(root.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        places.mounts = {int.from_bytes(key[:8], sys.byteorder): fd}
        try:
            return places.path(key)
        finally:
            places.mounts.clear()
            places.forget()
            os.close(fd)

    def _follow(self, path: bytes) -> None:
        """A symbolic link was made: where it leads to a directory, that is watched too."""
        if not (os.path.islink(path) and os.path.isdir(path)):
            return
        for root in roots_of(path, recursive=True, follow=True):
            if root.key in self._places.roots:
                root.close()
                continue
            self._roots.append(root)
            fan.fanotify_mark(
                self._group,
                fan.FAN_MARK_ADD | fan.FAN_MARK_FILESYSTEM,
                ALWAYS | wanted(self._event_filter) | fan.FAN_RENAME,
                root.fd,
            )
            self._places.roots[root.key] = root.path
            self._places.mounts[int.from_bytes(root.key[:8], sys.byteorder)] = root.fd
            self._places.forget()


class FanotifyFullEmitter(FanotifyEmitter):
    """The same with renames across the border of the watch told as renames, with an empty path outside."""

    full = True
