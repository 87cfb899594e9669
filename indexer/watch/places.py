"""Which path a directory has, by the handle under which fanotify reports it: learnt when it is first asked for.

What is learnt is the parent and the name of each directory, so a renamed directory costs one entry, whatever lies
below it. A question is about the moment of an event that waits in a queue, and the directory may have been renamed or
removed since: the first such event that still waits says where it was (`Pending`), else it is where it is now.
"""

from __future__ import annotations

import errno
import os
import sys
from collections import deque
from typing import TYPE_CHECKING

from indexer.events import directory_key
from indexer.syscalls.handles import handle_of, open_handle

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 200_000
"""Directories remembered, and as many that are known not to be ours, before each starts afresh."""
_FSID = 8
_LOOK = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_CLOEXEC
_GONE = {errno.ESTALE, errno.ENOENT, errno.ENOMEM}

Place = tuple[bytes, bytes]
"""Key of the parent, and the name in it."""
_TOP: Place = (b"", b"")
"""Of the uppermost directory of a filesystem, and of any on a filesystem that is not watched."""


def key_of(fd: int) -> bytes:
    """Return the key under which fanotify reports the directory behind a descriptor. Raises OSError."""
    return directory_key(os.fstatvfs(fd).f_fsid, handle_of(fd))


class Pending:
    """Renames and removals of directories that have been read and not yet been dealt with, by directory."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, deque[Place]] = {}

    def add(self, key: bytes, place: Place) -> None:
        """A directory left this place."""
        self._waiting.setdefault(key, deque()).append(place)

    def done(self, key: bytes) -> None:
        """The oldest such event of this directory is being dealt with."""
        waiting = self._waiting.get(key)
        if waiting:
            waiting.popleft()
            if not waiting:
                del self._waiting[key]

    def place(self, key: bytes) -> Place | None:
        """Return where the directory was before all of them."""
        waiting = self._waiting.get(key)
        return waiting[0] if waiting else None


class Places:
    """Paths of directories below some roots."""

    def __init__(self, pending: Pending, read_more: Callable[[float], None]) -> None:
        """`read_more(seconds)` reads what the kernel holds into the queue, waiting for something at most so long."""
        self.mounts: dict[int, int] = {}
        """fsid -> descriptor of a directory on that filesystem; the caller's."""
        self.roots: dict[bytes, bytes] = {}
        """Key -> path."""
        self.foreign: set[bytes] = set()
        """Directories that lie below no root."""
        self._pending = pending
        self._read_more = read_more
        self._parents: dict[bytes, Place] = {}
        self._paths: dict[bytes, bytes] = {}

    def path(self, key: bytes) -> bytes | None:
        """Return the path of a directory at the moment of the event in hand; None when it is below no root."""
        found = self._paths.get(key)
        if found is not None:
            return found
        names: list[bytes] = []
        seen: list[bytes] = []
        current = key
        while (root := self.roots.get(current)) is None:
            place = _TOP if current in self.foreign or current in seen else self._place(current)
            seen.append(current)
            if place is _TOP or place is None:
                self._note_foreign(seen)
                return None
            names.append(place[1])
            current = place[0]
        path = os.path.join(root, *reversed(names)) if names else root
        if len(self._paths) >= LIMIT:
            self._paths.clear()
        self._paths[key] = path
        return path

    def moved(self, key: bytes, place: Place) -> None:
        """A directory has been given another place."""
        if key in self.roots:
            return
        self._paths.clear()
        if self.path(place[0]) is None:
            self._parents.pop(key, None)
            self.foreign.add(key)
            return
        if key in self.foreign:
            self.foreign.clear()  # what lies below it is ours now
        self._remember(key, place)

    def created(self, key: bytes, place: Place) -> None:
        """A directory has been made."""
        self._remember(key, place)

    def removed(self, key: bytes) -> None:
        """A directory is gone; its key will never mean another one."""
        self._parents.pop(key, None)
        self._paths.pop(key, None)

    def forget(self) -> None:
        """Learn everything anew: events were lost, or it is not known which directory has moved."""
        self._parents.clear()
        self._paths.clear()
        self.foreign.clear()

    def _place(self, key: bytes) -> Place | None:
        place = self._parents.get(key) or self._pending.place(key)
        if place is None:
            now = self._look(key)
            self._read_more(0)
            place = self._pending.place(key) or now
            if place is None:
                # It is gone, and its removal is about to be told: rmdir tells it just after it has happened.
                self._read_more(0.05)
                place = self._pending.place(key)
        if place is not None and place is not _TOP:
            self._remember(key, place)
        return place

    def _look(self, key: bytes) -> Place | None:
        """Return where a directory is now, None when it is gone."""
        mount = self.mounts.get(int.from_bytes(key[:_FSID], sys.byteorder))
        if mount is None:
            return _TOP
        try:
            fd = open_handle(mount, key[_FSID:], _LOOK)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        try:
            above = os.open("..", _LOOK, dir_fd=fd)
            try:
                parent = key_of(above)
                if parent == key or parent in self.foreign:
                    return _TOP
                name = _name_of(fd, above)
            finally:
                os.close(above)
        except FileNotFoundError:  # removed, and held open by somebody
            return None
        finally:
            os.close(fd)
        return (parent, name) if name else _TOP

    def _remember(self, key: bytes, place: Place) -> None:
        if len(self._parents) >= LIMIT:
            self._parents.clear()
        self._parents[key] = place

    def _note_foreign(self, keys: list[bytes]) -> None:
        if len(self.foreign) >= LIMIT:
            self.foreign.clear()
        self.foreign.update(keys)
        for key in keys:
            self._parents.pop(key, None)


def _name_of(fd: int, above: int) -> bytes:
    """Return the name of an open directory in its parent `above`; empty for the uppermost of all."""
    try:
        path = os.readlink(b"/proc/self/fd/%d" % fd)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # more than a page: look for it by its inode
            raise
        inode = os.fstat(fd).st_ino
        parent = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
        try:
            with os.scandir(parent) as entries:
                return next((os.fsencode(entry.name) for entry in entries if entry.inode() == inode), b"")
        finally:
            os.close(parent)
    if path.endswith(b" (deleted)") and not os.fstat(fd).st_nlink:
        raise FileNotFoundError(errno.ENOENT, "removed", path)
    return os.path.basename(path)
