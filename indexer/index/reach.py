"""How a registered directory is reached for certain: by its handle, or by path and then compared with the handle."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from indexer.syscalls.handles import handle_of, open_handle

CHUNK = 3_000
"""Bytes of path opened at once: PATH_MAX is 4,096, a tree may be deeper."""

O_PATH = getattr(os, "O_PATH", 0)
O_NOATIME = getattr(os, "O_NOATIME", 0)
LOOK = O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

UNREACHABLE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ELOOP}
NOT_BY_HANDLE = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ESTALE, errno.ENOMEM}
"""Then it may still be found by its path. ESTALE: it is gone, or the filesystem (FUSE) no longer finds it so. ENOMEM:
the kernel could not connect a directory that is just being moved or removed (measured, ext4)."""


class GoneError(Exception):
    """The registered directory cannot be reached: it is gone, or elsewhere (its own hint will tell)."""


class Reacher:
    """Opens directories below one root."""

    def __init__(self, root_fd: int) -> None:
        self._root = root_fd
        self.handles_open = True
        """False once opening by handle was not permitted."""

    def reach(self, mount_fd: int, handle: bytes, path: Callable[[], bytes], flags: int) -> int:
        """Open the directory with this handle; `path` is asked only where handles cannot be opened.

        Raises GoneError when it is not where it is thought to be, OSError (EACCES, EIO …) when it cannot be used.
        """
        if self.handles_open:
            try:
                return _quietly(lambda more: open_handle(mount_fd, handle, flags & ~os.O_NOFOLLOW | more), flags)
            except OSError as error:
                if error.errno not in NOT_BY_HANDLE:
                    raise
                if error.errno == errno.EPERM:
                    self.handles_open = False  # CAP_DAC_READ_SEARCH is missing
        try:
            fd = self._open_path(path(), flags)
        except OSError as error:
            if error.errno in UNREACHABLE:
                raise GoneError(handle) from error
            raise
        try:
            found = handle_of(fd)
        except OSError:
            os.close(fd)
            raise
        if found != handle:
            os.close(fd)
            raise GoneError(handle)
        return fd

    def _open_path(self, path: bytes, flags: int) -> int:
        if not path:
            return _quietly(lambda more: os.open(".", flags | more, dir_fd=self._root), flags)
        here = self._root
        try:
            for chunk in (chunks := _chunks(path))[:-1]:
                deeper = os.open(chunk, LOOK, dir_fd=here)
                if here != self._root:
                    os.close(here)
                here = deeper
            return _quietly(lambda more: os.open(chunks[-1], flags | more, dir_fd=here), flags)
        finally:
            if here != self._root:
                os.close(here)


def _quietly(open_with: Callable[[int], int], flags: int) -> int:
    """Open without touching the access time where we may (owner or CAP_FOWNER), else plainly."""
    if flags & O_PATH or not O_NOATIME:
        return open_with(0)
    try:
        return open_with(O_NOATIME)
    except PermissionError:
        return open_with(0)


def _chunks(path: bytes) -> list[bytes]:
    """Cut a path that is longer than the kernel takes at component borders."""
    if len(path) < CHUNK:
        return [path]
    chunks, current = [], b""
    for name in path.split(b"/"):
        if current and len(current) + 1 + len(name) > CHUNK:
            chunks.append(current)
            current = name
        else:
            current = current + b"/" + name if current else name
    chunks.append(current)
    return chunks
