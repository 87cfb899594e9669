"""The walker's own process: lists the directories it is asked for and stats their names, nothing else.

It reads requests from standard input and writes raw `struct statx` to standard output; what they mean is decided by
the writer. Started by `walker.Walker`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from indexer.index.reach import READ, GoneError, Reacher
from indexer.syscalls._libc import libc
from indexer.syscalls.stat import AT_EMPTY_PATH, NOFOLLOW, STATX_SIZE, WANTED

REQUEST = struct.Struct("=qIII")
"""Directory id, filesystem id, length of the handle, length of the path; then both."""
ANSWER = struct.Struct("=qiII")
"""Directory id, errno (GONE: not where it should be), number of names, bytes of names; then the directory's own statx,
its names ended by NULs, and a statx for each: mask 0 and errno in place of blksize where that failed."""
FAILED = struct.Struct("=II")
GONE = -1
MOST = 65_536
"""Names of one directory: a larger one is left to the writer (EFBIG), which takes it piece by piece."""


def serve(root_fd: int, mounts: dict[int, int]) -> None:
    """Answer requests until standard input ends."""
    assert libc is not None  # noqa: S101 - only started where statx is
    reacher = Reacher(root_fd)
    stats = ctypes.create_string_buffer(STATX_SIZE * MOST)
    view = memoryview(stats).cast("B")
    base = ctypes.addressof(stats)
    own = ctypes.create_string_buffer(STATX_SIZE)
    requests = os.fdopen(0, "rb", buffering=1 << 16)
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        directory_id, filesystem, handle_length, path_length = REQUEST.unpack(head)
        handle = requests.read(handle_length)
        path = requests.read(path_length)
        names = b""
        count = code = 0
        try:
            fd = reacher.reach(mounts[filesystem], handle, lambda path=path: path, READ)  # type: ignore[misc]
            try:
                libc.statx(fd, b"", AT_EMPTY_PATH | NOFOLLOW, WANTED, own)
                found = sorted(os.listdir(fd))
                if len(found) > MOST:
                    raise OSError(errno.EFBIG, "too many names")
                names, count = _stat_all(fd, found, base, view)
            finally:
                os.close(fd)
        except GoneError:
            code = GONE
        except OSError as error:
            code = error.errno or errno.EIO
        _write([ANSWER.pack(directory_id, code, count, len(names)), own.raw, names, view[: count * STATX_SIZE]])


def _stat_all(fd: int, found: list[str], base: int, view: memoryview) -> tuple[bytes, int]:
    encoded = [os.fsencode(name) for name in found]
    statx = libc.statx  # type: ignore[union-attr]
    pointer = ctypes.c_void_p
    at = base
    for position, name in enumerate(encoded):
        if statx(fd, name, NOFOLLOW, WANTED, pointer(at)):
            FAILED.pack_into(view, position * STATX_SIZE, 0, ctypes.get_errno())
        at += STATX_SIZE
    return b"\0".join(encoded), len(encoded)


def _write(parts: list[bytes | memoryview]) -> None:
    parts = [part for part in parts if len(part)]
    while parts:
        written = os.writev(1, parts)
        while parts and written >= len(parts[0]):
            written -= len(parts.pop(0))
        if written:
            parts[0] = memoryview(parts[0])[written:]
