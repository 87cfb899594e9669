"""fanotify(7): initialise a group, mark filesystems, and the layout of its events."""

from __future__ import annotations

import ctypes
import os
import struct

from indexer.syscalls._libc import function, raise_errno, raise_no_queue

FAN_CLASS_NOTIF = 0x0
FAN_CLOEXEC = 0x1
FAN_NONBLOCK = 0x2
FAN_UNLIMITED_QUEUE = 0x10
FAN_UNLIMITED_MARKS = 0x20
FAN_REPORT_FID = 0x200
FAN_REPORT_DIR_FID = 0x400
FAN_REPORT_NAME = 0x800
FAN_REPORT_DFID_NAME = FAN_REPORT_DIR_FID | FAN_REPORT_NAME
FAN_REPORT_TARGET_FID = 0x1000
"""Linux ≥ 5.17, with the three above: creations, deletions and renames also say which object it was."""

FAN_MARK_ADD = 0x1
FAN_MARK_REMOVE = 0x2
FAN_MARK_FLUSH = 0x80
FAN_MARK_IGNORED_SURV_MODIFY = 0x40
FAN_MARK_FILESYSTEM = 0x100
FAN_MARK_EVICTABLE = 0x200
"""Linux ≥ 5.19: the mark does not keep its inode in memory; it is gone when the kernel needs the room."""
FAN_MARK_IGNORE = 0x400
"""Linux ≥ 6.0: events that other marks ask for are not reported, for just the kinds of objects that the mask says."""

FAN_MODIFY = 0x2
FAN_ATTRIB = 0x4
FAN_CLOSE_WRITE = 0x8
FAN_CLOSE_NOWRITE = 0x10
FAN_MOVED_FROM = 0x40
FAN_MOVED_TO = 0x80
FAN_CREATE = 0x100
FAN_DELETE = 0x200
FAN_DELETE_SELF = 0x400
FAN_Q_OVERFLOW = 0x4000
FAN_FS_ERROR = 0x8000
"""Linux ≥ 5.16, with FAN_REPORT_FID and a filesystem mark: the filesystem has found an error of its own (ext4, xfs)."""
FAN_ONDIR = 0x40000000
FAN_EVENT_ON_CHILD = 0x08000000
FAN_RENAME = 0x10000000
"""Linux ≥ 5.17: both places of a rename in one event, which is never merged with others."""

FAN_EVENT_INFO_TYPE_FID = 1
FAN_EVENT_INFO_TYPE_DFID_NAME = 2
FAN_EVENT_INFO_TYPE_ERROR = 5
FAN_EVENT_INFO_TYPE_NEW_DFID_NAME = 12

EVENT = struct.Struct("=IBBHQii")
"""struct fanotify_event_metadata: event_len, vers, reserved, metadata_len, mask, fd, pid."""
INFO = struct.Struct("=BBH")
"""struct fanotify_event_info_header: info_type, pad, len; a FID record goes on with fsid (8 bytes) and file_handle."""

_init = function("fanotify_init", ctypes.c_int, ctypes.c_uint, ctypes.c_uint)
_mark = function(
    "fanotify_mark", ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p
)


def fanotify_init(flags: int) -> int:
    """Return a new group's descriptor.

    Raises OSError: EPERM without CAP_SYS_ADMIN, EINVAL before Linux 5.9, ENOSYS, EMFILE when the user's groups (or the
    process's descriptors) are used up.
    """
    fd: int = _init(flags, os.O_RDONLY | os.O_CLOEXEC)
    if fd < 0:
        raise_no_queue("fs.fanotify.max_user_groups", "user.max_fanotify_groups")
    return fd


def fanotify_mark(group: int, flags: int, mask: int, dir_fd: int, path: bytes | None = None) -> None:
    """Add or remove a mark on what `dir_fd` (or `path` below it) refers to.

    Raises OSError: EXDEV on a btrfs subvolume, EOPNOTSUPP where the filesystem has no handles, EINVAL for a mask
    the kernel does not know.
    """
    if _mark(group, flags, mask, dir_fd, path):
        raise_errno(path)
