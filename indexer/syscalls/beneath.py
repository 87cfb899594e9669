"""openat2(2): open a directory below another one, and nothing else: no symlink, no "..", no other mount on the way."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from indexer.syscalls._libc import raise_errno
from indexer.syscalls._raw import raw
from indexer.syscalls.stat import stat_fd

O_PATH: int = getattr(os, "O_PATH", 0)
"""Pins an object without opening it (Linux); elsewhere 0, an ordinary open."""

_NR_OPENAT2 = 437
"""The same number on every architecture but alpha (Linux ≥ 5.6)."""
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_OPEN_HOW = struct.Struct("=QQQ")

_PIECE = 4000
"""Bytes of path per system call, below PATH_MAX (4,096 with the closing NUL)."""
_RETRIES = 16
"""openat2 answers EAGAIN while somebody renames above the path (man page: "the caller may wish to retry")."""

_openat2 = raw(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)


class _Support:
    """Whether this kernel, or the seccomp filter above it, lets openat2 through: found out by the first call."""

    openat2 = sys.platform == "linux"


def open_beneath(base_fd: int, path: bytes, flags: int = os.O_RDONLY, *, cross: bool = False) -> int:
    """Open the directory `path` (relative, b"" = the base itself) strictly below `base_fd`; return its descriptor.

    `flags` are added to O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC. `cross` lets the path cross mount points, for a filesystem
    that the configuration names. Longer paths than PATH_MAX are walked in pieces. Raises OSError: ELOOP or ENOTDIR
    for a symlink on the way, EXDEV for another mount, EAGAIN when directories above keep moving, ENOENT; ValueError for
    a path with "." or ".." or an empty component, which no index ever holds.
    """
    flags |= os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    if not path:
        return os.open(b".", flags, dir_fd=base_fd)
    if path[0] == 0x2F or path[-1] == 0x2F or b"." in path or b"//" in path:
        _refuse_dots(path)
    if len(path) <= _PIECE:
        return _open(base_fd, path, flags, cross=cross)
    fd = base_fd
    try:
        for piece in _pieces(path):
            deeper = _open(fd, piece, flags, cross=cross)
            if fd != base_fd:
                os.close(fd)
            fd = deeper
    except OSError:
        if fd != base_fd:
            os.close(fd)
        raise
    return fd


def _refuse_dots(path: bytes) -> None:
    if any(component in {b"", b".", b".."} for component in path.split(b"/")):
        raise ValueError("a path below the store has no empty, '.' or '..' component")


def _pieces(path: bytes) -> list[bytes]:
    """Cut a long path between components, each piece short enough for one system call."""
    pieces = []
    while len(path) > _PIECE:
        cut = path.rindex(b"/", 0, _PIECE + 1)
        pieces.append(path[:cut])
        path = path[cut + 1 :]
    return [*pieces, path]


def _open(base_fd: int, path: bytes, flags: int, *, cross: bool) -> int:
    if _Support.openat2:
        resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS | (0 if cross else _RESOLVE_NO_XDEV)
        how = _OPEN_HOW.pack(flags, 0, resolve)
        for _ in range(_RETRIES):
            fd: int = _openat2(_NR_OPENAT2, base_fd, path, how, _OPEN_HOW.size)
            if fd >= 0:
                return fd
            code = ctypes.get_errno()
            if code == errno.EAGAIN:
                continue
            if code not in {errno.ENOSYS, errno.EPERM}:
                break
            # EPERM: container runtimes of before 2020 answer it for every call they do not know.
            _Support.openat2 = False
            return _walk(base_fd, path, flags, cross=cross)
        raise_errno(path)
    return _walk(base_fd, path, flags, cross=cross)


def _walk(base_fd: int, path: bytes, flags: int, *, cross: bool) -> int:
    """The same, component by component, where there is no openat2.

    No component follows a symlink, and each is compared with the base's filesystem; a bind mount of that same
    filesystem is seen by statx's mount-root attribute (Linux ≥ 5.8).
    """
    device = stat_fd(base_fd).dev
    fd = base_fd
    components = path.split(b"/")
    for position, component in enumerate(components):
        last = position == len(components) - 1
        step = flags if last else O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            deeper = os.open(component, step, dir_fd=fd)
        finally:
            if fd != base_fd:
                os.close(fd)
        fd = deeper
        if not cross:
            st = stat_fd(fd)
            if st.mount_root or st.dev != device:
                os.close(fd)
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return fd
