"""inotify(7): an instance, its watches, and the layout of its events."""

from __future__ import annotations

import ctypes
import os
import struct

from indexer.syscalls._libc import function, raise_errno, raise_no_queue, smallest

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_CLOSE_NOWRITE = 0x10
IN_OPEN = 0x20
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800

IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ISDIR = 0x40000000

IN_ONLYDIR = 0x01000000
IN_DONT_FOLLOW = 0x02000000
IN_EXCL_UNLINK = 0x04000000

EVENT = struct.Struct("=iIII")
"""struct inotify_event: watch descriptor, mask, cookie, length of the NUL-padded name that follows."""

_init = function("inotify_init1", ctypes.c_int, ctypes.c_int)
_add = function("inotify_add_watch", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
_remove = function("inotify_rm_watch", ctypes.c_int, ctypes.c_int, ctypes.c_int)


def inotify_init() -> int:
    """Return a new instance's descriptor, not blocking.

    Raises OSError: EMFILE when the user's instances (or the process's descriptors) are used up, ENOSYS elsewhere.
    """
    fd: int = _init(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise_no_queue(*_limits("instances"))
    return fd


def inotify_add_watch(instance: int, path: bytes, mask: int) -> int:
    """Watch what `path` leads to; the same inode always gives the same watch descriptor, others ever larger ones.

    Raises OSError: ENOSPC when the user's watches are used up, EACCES for what may not be read, ENOMEM.
    """
    watch: int = _add(instance, path, mask)
    if watch < 0:
        raise_errno(path)
    return watch


def inotify_rm_watch(instance: int, watch: int) -> None:
    """Stop watching; an IN_IGNORED follows. Raises OSError: EINVAL when the kernel removed the watch already."""
    if _remove(instance, watch):
        raise_errno()


def limit_of(what: str) -> tuple[str, int]:
    """Return the sysctl that limits `what` (watches, instances, queued_events) in this user namespace, and its value.

    The smaller one where there are two; 0 without any.
    """
    value, name = smallest(*_limits(what))
    return name, value


def _limits(what: str) -> tuple[str, str, str]:
    return f"fs.inotify.max_user_{what}", f"user.max_inotify_{what}", f"fs.inotify.max_{what}"
