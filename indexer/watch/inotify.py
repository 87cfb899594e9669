"""inotify, one watch a directory: for everybody who lacks what fanotify needs.

Its queue is short (16,384 events by default), so the reader does nothing but read and coalesce on the raw (watch
descriptor, name): 430,000 events/s and none lost (measured). What a watch descriptor means is decided when a batch is
taken. Renaming a directory costs nothing here: the watch stays with the inode.

A directory for which the kernel has no watch left is not lost: it is in `unwatched`, and the service polls those.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, KeysView

from indexer.events import ACCESSED, CHANGED, ROOT_ID, Batch, Rescan
from indexer.syscalls import inotify as kernel
from indexer.watch.reader import QueueReader
from indexer.watch.uses import RecentUses

MASK = (
    kernel.IN_CREATE
    | kernel.IN_DELETE
    | kernel.IN_MOVED_FROM
    | kernel.IN_MOVED_TO
    | kernel.IN_MODIFY  # a writer that never closes is seen too
    | kernel.IN_CLOSE_WRITE
    | kernel.IN_ATTRIB
    | kernel.IN_CLOSE_NOWRITE
)
"""Not IN_DELETE_SELF and IN_MOVE_SELF: the parent reports both, and the kernel says IN_IGNORED unasked."""
FLAGS = kernel.IN_ONLYDIR  # not IN_EXCL_UNLINK: what is written through an unlinked name may have another (link(2))
CHANGES = MASK & ~kernel.IN_CLOSE_NOWRITE
RARE = kernel.IN_ISDIR | kernel.IN_Q_OVERFLOW | kernel.IN_IGNORED | kernel.IN_UNMOUNT
ENDED = kernel.IN_IGNORED | kernel.IN_UNMOUNT

NAP = 0.01
"""Seconds between reads: at 430,000 events/s a quarter of the queue."""
PENDING_LIMIT = 400_000
"""Names that may wait before they are folded into their directories (about 250 bytes each)."""

_HEAD = struct.Struct("=iI4xI")  # watch descriptor, mask, length of the name
_NAME = 16
_EXHAUSTED = {errno.ENOSPC, errno.ENOMEM}
"""What add_watch fails with when this user, or the kernel, has no room for another watch."""


class InotifyWatcher(QueueReader):
    """One inotify instance over the directories that are registered. `take`, `register`, `forget`: one thread."""

    name = "inotify"
    wants_descriptor = True

    def __init__(
        self, *, clock: Callable[[], float], reason: str = "", nap: float = NAP, access_resolution: float = 0.0
    ) -> None:
        """`clock` gives Unix seconds, `nap` is in seconds.

        Uses of one name are told at most twice an `access_resolution` (seconds; 0: each).
        """
        super().__init__("indexer-inotify", nap)
        self._uses = RecentUses(access_resolution)
        self.reason = reason or "a watch on each directory: no privilege needed"
        self._clock = clock
        self._pending: dict[int, dict[bytes, int]] = {}
        self._names = 0
        self._listings: set[int] = set()
        self._ended: list[tuple[int, int]] = []
        self._lost_root = False
        self._descriptors = b""
        self._ids: dict[int, int] = {}
        self._watches: dict[int, int] = {}
        self._unwatched: dict[int, None] = {}

    def start(self) -> None:
        """Begin to listen; directories are watched as they are registered.

        Raises OSError: EMFILE when this user may have no further instance.
        """
        self._descriptors = b"/proc/%s/fd/" % os.readlink(b"/proc/self")  # a microsecond less than by "self"
        self._begin(kernel.inotify_init())

    def alive(self) -> bool:
        """False once the reader has died or the root's watch has ended (removed, unmounted)."""
        return super().alive() and not self._lost_root

    @property
    def unwatched(self) -> KeysView[int]:
        """Ids of the directories for which there was no watch left."""
        return self._unwatched.keys()

    def watches(self, directory_id: int) -> bool:
        """Say whether a directory is registered, watched or not."""
        return directory_id in self._watches or directory_id in self._unwatched

    def register(self, directory_id: int, directory_fd: int, key: bytes) -> None:  # noqa: ARG002 - the protocol's
        """Watch the directory behind this descriptor (O_PATH will do), whatever path leads to it now.

        Where no watch is left, it is noted as unwatched. Raises OSError (EACCES: it may not be read).
        """
        self._register(directory_id, self._descriptors + b"%d" % directory_fd)

    def register_below(self, directory_id: int, parent_fd: int, name: bytes) -> None:
        """Watch the directory under this name of an open one: a third less work where there are many (measured).

        Where somebody exchanges it just then, verification mends that: it registers by descriptor, then lists.
        """
        self._register(directory_id, b"%s%d/%s" % (self._descriptors, parent_fd, name), kernel.IN_DONT_FOLLOW)

    def _register(self, directory_id: int, path: bytes, flags: int = 0) -> None:
        try:
            watch = kernel.inotify_add_watch(self._queue, path, MASK | FLAGS | flags)
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._unwatched[directory_id] = None
            self.counters.unwatched = len(self._unwatched)
            return
        if self._watches.get(directory_id) != watch:
            self._forget_watch(directory_id)  # of another inode: a row that was rolled back, and its id given again
            other = self._ids.get(watch)
            if other is not None:
                del self._watches[other]
            self._watches[directory_id] = watch
            self._ids[watch] = directory_id
        if self._unwatched:
            self._unwatched.pop(directory_id, None)
            self.counters.unwatched = len(self._unwatched)

    def forget(self, directory_id: int) -> None:
        """Stop watching a directory; what is still queued of it will be dropped."""
        self._forget_watch(directory_id)
        self._unwatched.pop(directory_id, None)
        self.counters.unwatched = len(self._unwatched)

    def foreign(self, key: bytes) -> None:
        """Nothing to drop: only registered directories report."""

    def take(self, timeout: float | None) -> Batch:
        """Return what has come in, waiting up to `timeout` seconds; see `source.Watcher`."""
        with self._lock:
            self._await(timeout)
            batch = self._hand_over(self._clock())
            pending, self._pending, self._names = self._pending, {}, 0
            listings, self._listings = self._listings, set()
            ended, self._ended = self._ended, []
        self._decode(pending, batch)
        ids = (self._ids.get(watch) for watch in listings)
        batch.rescans += [Rescan(each, tree=False, reason="folded") for each in ids if each is not None]
        for watch, mask in ended:
            self._end(watch, mask, batch)
        return batch

    def _forget_watch(self, directory_id: int) -> None:
        watch = self._watches.pop(directory_id, None)
        if watch is None:
            return
        del self._ids[watch]
        try:
            kernel.inotify_rm_watch(self._queue, watch)
        except OSError as error:
            if error.errno != errno.EINVAL:  # the directory is gone, and its watch with it
                raise

    def _end(self, watch: int, mask: int, batch: Batch) -> None:
        """The kernel has ended a watch: the directory was removed, or its filesystem unmounted."""
        directory_id = self._ids.get(watch)
        if directory_id is None:
            return  # forgotten by ourselves
        if directory_id == ROOT_ID:
            self._lost_root = True
        elif mask & kernel.IN_UNMOUNT:
            batch.rescans.append(Rescan(directory_id, tree=True, reason="unmounted"))
        if mask & kernel.IN_IGNORED:
            del self._ids[watch]
            del self._watches[directory_id]

    # The reader's side

    def _waiting(self) -> int:
        return self._names + len(self._listings) + len(self._ended)

    def _coalesce(self, data: bytes) -> int:
        """Merge the events in `data` into the pending hints: one slice and one dictionary entry an event."""
        pending = self._pending
        told = self._uses.turn()
        head = _HEAD.unpack_from
        names: dict[bytes, int] = {}
        last = before = 0  # no watch descriptor is 0
        offset, end, count = 0, len(data), 0
        while offset < end:
            watch, mask, length = head(data, offset)
            begin = offset + _NAME
            offset = begin + length
            count += 1
            if mask & RARE and self._is_not_a_hint(watch, mask):
                continue
            if told is not None:
                if mask == kernel.IN_CLOSE_NOWRITE:
                    if (use := (watch, data[begin:offset])) in told:
                        continue
                    told.add(use)
                elif told:
                    told.discard((watch, data[begin:offset]))
            if watch != last:
                self._names += len(names) - before
                found = pending.get(watch)
                if found is None:
                    found = pending[watch] = {}
                names, before, last = found, len(found), watch
            raw = data[begin:offset]
            names[raw] = names.get(raw, 0) | mask
        self._names += len(names) - before
        self._events += count
        self.counters.events += count
        if self._names > PENDING_LIMIT:
            self._fold()
        return len(data)

    def _is_not_a_hint(self, watch: int, mask: int) -> bool:
        """Take what is not about a name; a directory that was merely listed is nothing at all."""
        if mask & kernel.IN_Q_OVERFLOW:
            self.counters.overflows += 1
            self._rescans.append(Rescan(ROOT_ID, tree=True, reason="overflow"))
            return True
        if mask & ENDED:
            self._ended.append((watch, mask))
            return True
        return bool(mask & kernel.IN_CLOSE_NOWRITE)

    def _fold(self) -> None:
        """Bound the memory of a writer that stands still: names become a listing of their directory."""
        self.counters.folded += 1
        self._listings.update(self._pending)
        self._pending, self._names = {}, 0

    def _decode(self, pending: dict[int, dict[bytes, int]], batch: Batch) -> None:
        """Turn raw (watch descriptor, padded name) into hints by directory id; drop what is no longer ours."""
        hints, ids = batch.hints, self._ids
        for watch, names in pending.items():
            directory_id = ids.get(watch)
            if directory_id is None:
                self.counters.foreign += len(names)
                continue
            hints[directory_id] = {
                raw.rstrip(b"\0") or b".": (CHANGED if mask & CHANGES else 0)
                | (ACCESSED if mask & kernel.IN_CLOSE_NOWRITE else 0)
                for raw, mask in names.items()
            }


def probe(root: bytes) -> str | None:
    """Say why directories cannot be watched one by one here, or None when they can.

    That no watch is left at the moment does not stand against it: what cannot be watched is polled, and said.
    """
    try:
        instance = kernel.inotify_init()
    except OSError as error:
        return _WHY.get(error.errno or 0, f"inotify_init1: {error.strerror}")
    try:
        kernel.inotify_add_watch(instance, root, MASK | FLAGS)
        os.readlink(b"/proc/self")
    except OSError as error:
        if error.errno in _EXHAUSTED:
            return None
        return _WHY.get(error.errno or 0, f"inotify_add_watch: {error.strerror}")
    finally:
        os.close(instance)
    return None


_WHY = {
    errno.EMFILE: "this user's inotify instances are used up (fs.inotify.max_user_instances)",
    errno.ENOSYS: "the platform has no inotify",
    errno.ENOENT: "/proc is not mounted",
}
