"""File handles: what a directory is, whatever its path (name_to_handle_at(2), open_by_handle_at(2)).

A handle survives renames, reboots and remounts, and is not reused when an inode number is: it carries the
inode's generation. fanotify reports directories by the same bytes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from indexer.syscalls._libc import function, raise_errno
from indexer.syscalls.stat import stat_at, stat_fd

MAX_HANDLE_SZ = 128
AT_EMPTY_PATH = 0x1000
AT_HANDLE_FID = 0x200
"""Linux ≥ 6.5: a handle that identifies, though it may not be opened (overlayfs without nfs_export)."""

_HEADER = struct.Struct("=Ii")
_SUBSTITUTE_TYPE = -1
"""handle_type of our own stand-in for filesystems without handles; the kernel's are never negative."""

_NO_HANDLES = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM})
"""The kernel itself never answers EPERM here (open_by_handle_at(2)); older profiles of container engines do."""

_name_to_handle_at = function(
    "name_to_handle_at", ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int
)
_open_by_handle_at = function("open_by_handle_at", ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


def handle_of(dir_fd: int, name: bytes = b"") -> bytes:
    """Return the handle of `name` in `dir_fd` (of `dir_fd` itself without a name) as `struct file_handle` bytes.

    Where the filesystem has no handles (EOPNOTSUPP), or a container's seccomp filter lets nobody ask (EPERM), the bytes
    hold inode and birth time instead: they identify, but cannot be opened (see `is_openable`). Symlinks are not
    followed. Raises OSError.
    """
    if sys.platform != "linux":
        return _substitute(dir_fd, name)
    flags = 0 if name else AT_EMPTY_PATH
    try:
        return _handle(dir_fd, name, flags)
    except OSError as error:
        if error.errno not in _NO_HANDLES | {errno.EOVERFLOW}:
            raise
    try:
        return _handle(dir_fd, name, flags | AT_HANDLE_FID)
    except OSError as error:
        if error.errno not in _NO_HANDLES | {errno.EINVAL, errno.EOVERFLOW}:
            raise
    return _substitute(dir_fd, name)


def _handle(dir_fd: int, name: bytes, flags: int) -> bytes:
    buffer = ctypes.create_string_buffer(_HEADER.size + MAX_HANDLE_SZ)
    _HEADER.pack_into(buffer, 0, MAX_HANDLE_SZ, 0)
    mount_id = ctypes.c_int()
    if _name_to_handle_at(dir_fd, name, buffer, ctypes.byref(mount_id), flags):
        raise_errno(name)
    length, _ = _HEADER.unpack_from(buffer)
    return buffer.raw[: _HEADER.size + length]


def _substitute(dir_fd: int, name: bytes) -> bytes:
    st = stat_at(dir_fd, name) if name else stat_fd(dir_fd)
    body = struct.pack("=QQ", st.inode, st.btime_ns)
    return _HEADER.pack(len(body), _SUBSTITUTE_TYPE) + body


def is_openable(handle: bytes) -> bool:
    """False for the stand-in of filesystems without handles."""
    kind: int = _HEADER.unpack_from(handle)[1]
    return kind != _SUBSTITUTE_TYPE


def open_handle(mount_fd: int, handle: bytes, flags: int) -> int:
    """Open a directory by its handle on the filesystem that `mount_fd` lies on.

    Needs CAP_DAC_READ_SEARCH. Raises OSError: EPERM without it, ESTALE when the directory is gone, EOPNOTSUPP
    for a handle that only identifies.
    """
    if not is_openable(handle):
        raise OSError(errno.EOPNOTSUPP, "the filesystem has no handles that can be opened")
    buffer = ctypes.create_string_buffer(handle, len(handle))
    fd: int = _open_by_handle_at(mount_fd, buffer, flags | os.O_CLOEXEC)
    if fd < 0:
        raise_errno()
    return fd
