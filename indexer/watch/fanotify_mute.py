"""Busy directories outside of the store are muted in the kernel: one mark covers a filesystem, also what is not ours.

A mark that ignores (Linux ≥ 6.0) on such a directory keeps what happens to the files in it from being reported at all,
which costs the writer and us nothing. It is evictable, so that it does not keep inodes in memory; when the kernel has
dropped it, the events are counted afresh. What happens to directories is still told, so that the one that holds the
store's root does not silence it.
"""

from __future__ import annotations

import errno
import os
import sys

from indexer.syscalls import fanotify as fan
from indexer.syscalls.handles import open_handle

MUTE_AFTER = 16
"""Events after which a foreign directory is muted: about what muting costs."""
LIMIT = 16_384
"""Directories muted at a time."""

_FSID = 8
_IGNORE = fan.FAN_MARK_IGNORE | fan.FAN_MARK_IGNORED_SURV_MODIFY | fan.FAN_MARK_EVICTABLE
_LOOK = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_CLOEXEC
_GONE = {errno.ESTALE, errno.ENOENT, errno.ENOMEM}
_NOT_HERE = {errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
"""No CAP_DAC_READ_SEARCH, or a kernel without such marks."""


class Muter:
    """The muted directories of one group, by their keys. Its caller holds the watcher's lock."""

    def __init__(self, mounts: list[int]) -> None:
        """`mounts` are descriptors of the watched filesystems, open as long as this is used."""
        self._fds = mounts
        self._mounts: dict[int, int] = {}
        self._group = -1
        self._able = False
        self._mask = 0
        self._muted: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._muted)

    def __contains__(self, key: bytes) -> bool:
        return key in self._muted

    def begin(self, group: int, mask: int) -> None:
        """Mute for this group, which reports `mask`."""
        self._group, self._able = group, True
        self._mask = (mask & ~fan.FAN_ONDIR) | fan.FAN_EVENT_ON_CHILD
        self._mounts = {os.fstatvfs(fd).f_fsid: fd for fd in self._fds}
        self._muted.clear()

    def mute(self, key: bytes) -> None:
        """Let the kernel keep what happens to files in this directory, where it can."""
        if not self._able or (key not in self._muted and len(self._muted) >= LIMIT):
            return
        try:
            self._muted.add(key)
            self._mark(fan.FAN_MARK_ADD, key)
        except OSError as error:
            self._muted.discard(key)
            if error.errno in _NOT_HERE:
                self._able = False
            elif error.errno not in _GONE:
                raise

    def unmute(self, key: bytes) -> None:
        """The directory becomes the store's. Call it before the directory is listed."""
        if key not in self._muted:
            return
        self._muted.discard(key)
        try:
            self._mark(fan.FAN_MARK_REMOVE, key)
        except OSError:
            # Evicted by the kernel; or it cannot be reached at this moment, and must not stay silent for all that:
            # all marks on single directories are ours, and the busy ones come back by themselves.
            self._muted.clear()
            fan.fanotify_mark(self._group, fan.FAN_MARK_FLUSH, 0, self._fds[0])

    def _mark(self, what: int, key: bytes) -> None:
        mount = self._mounts.get(int.from_bytes(key[:_FSID], sys.byteorder))
        if mount is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        fd = open_handle(mount, key[_FSID:], _LOOK)
        try:
            fan.fanotify_mark(self._group, what | _IGNORE, self._mask, fd, b".")
        finally:
            os.close(fd)
