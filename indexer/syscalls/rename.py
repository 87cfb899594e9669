"""renameat2(2): rename by directory descriptors that never replaces anything."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys

from indexer.syscalls._libc import function, libc, raise_errno
from indexer.syscalls._raw import raw

RENAME_NOREPLACE = 1

_NUMBERS = {
    "x86_64": 316,
    "aarch64": 276,
    "riscv64": 276,
    "loongarch64": 276,
    "armv7l": 382,
    "i686": 353,
    "ppc64le": 357,
    "s390x": 347,
}
"""Of the system call, for C libraries without the wrapper (glibc < 2.28, musl)."""

_INTS = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_wrapper = function("renameat2", ctypes.c_int, *_INTS) if hasattr(libc, "renameat2") else None
_by_number = raw(*_INTS)
_number = _NUMBERS.get(platform.machine()) if sys.platform == "linux" else None


def _renameat2(source_fd: int, source: bytes, target_fd: int, target: bytes, flags: int) -> None:
    if _wrapper is not None:
        failed = _wrapper(source_fd, source, target_fd, target, flags)
    elif _number is not None:
        failed = _by_number(_number, source_fd, source, target_fd, target, flags)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), source)
    if failed:
        raise_errno(source)


def rename_noreplace(source_fd: int, source: bytes, target_fd: int, target: bytes) -> None:
    """Rename the single component `source` in one directory to `target` in another, unless the target exists.

    Where the filesystem cannot (EINVAL: NFS, some FUSE) or the platform lacks the call, a link and an unlink do the
    same in two steps: the file is under both names in between, never under none. Raises OSError: EEXIST, ENOENT,
    EXDEV, ENOSPC, EPERM …; EPERM also for a directory where renameat2 is missing.
    """
    try:
        _renameat2(source_fd, source, target_fd, target, RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOSYS}:
            raise
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)
        try:
            os.unlink(source, dir_fd=source_fd)
        except OSError:
            os.unlink(target, dir_fd=target_fd)  # under two names it would look as if it had been renamed
            raise
