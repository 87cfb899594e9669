"""syncfs(2) and fstatfs(2): make one filesystem durable, and say which kind it is."""

from __future__ import annotations

import ctypes
import os
import sys

from indexer.syscalls._libc import function, libc, raise_errno

OVERLAYFS = 0x794C7630
"""OVERLAYFS_SUPER_MAGIC (include/uapi/linux/magic.h)."""

_syncfs = function("syncfs", ctypes.c_int, ctypes.c_int) if hasattr(libc, "syncfs") else None
_fstatfs = function("fstatfs", ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


def sync_filesystem(fd: int) -> None:
    """Write everything of the filesystem that `fd` (not O_PATH) lies on to its device; raises OSError (EIO, ENOSPC)."""
    if _syncfs is None:
        os.sync()
    elif _syncfs(fd):
        raise_errno()


def filesystem_type(fd: int) -> int:
    """Return f_type of the filesystem that `fd` (also O_PATH) lies on; 0 on platforms other than Linux."""
    if sys.platform != "linux":
        return 0
    buffer = ctypes.create_string_buffer(256)
    if _fstatfs(fd, buffer):
        raise_errno()
    # f_type is the first word of struct statfs; s390 has 32 bits there, every other architecture a long.
    size = 4 if os.uname().machine == "s390x" else ctypes.sizeof(ctypes.c_long)
    return int.from_bytes(buffer.raw[:size], sys.byteorder)
