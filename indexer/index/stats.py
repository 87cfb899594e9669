"""One stat a name, as raw fields: the same stream from the writer's own statx, the walker's, and without statx."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import TYPE_CHECKING

from indexer.index.rows import NS, signed
from indexer.syscalls._libc import libc
from indexer.syscalls.stat import HAVE_STATX, NOFOLLOW, STATX_BTIME, STATX_SIZE, WANTED, stat_at

if TYPE_CHECKING:
    from collections.abc import Iterator

Fields = tuple[int, ...]
"""mask (0: the stat failed), errno of that, attributes, links, uid, gid, mode, inode (signed, as it is stored), size,
blocks, atime, birth, its nanoseconds, ctime, mtime, major, minor."""

# The part of struct statx that a row needs (see syscalls.stat.STATX), without the nanoseconds of the other clocks. Its
# second field is blksize, or the errno where a walker's stat failed (mask 0).
_STATX = struct.Struct("=IIQIIIH2xqQQ8xq8xqI4xq8xq8x8xII112x")
_NOTHING = (0,) * 15
_buffer = ctypes.create_string_buffer(STATX_SIZE)


def stats(fd: int, names: list[bytes]) -> Iterator[Fields]:
    """Stat the names in a directory one by one, as they are asked for (writer's thread only)."""
    if not HAVE_STATX or libc is None:
        yield from _portable(fd, names)
        return
    buffer, unpack, statx = _buffer, _STATX.unpack_from, libc.statx
    for name in names:
        if statx(fd, name, NOFOLLOW, WANTED, buffer):
            yield (0, ctypes.get_errno(), *_NOTHING)
        else:
            yield unpack(buffer)


def unpacked(found: memoryview) -> Iterator[Fields]:
    """Yield the fields of the walker's answers, one `struct statx` after the other."""
    return _STATX.iter_unpack(found)


def _portable(fd: int, names: list[bytes]) -> Iterator[Fields]:
    for name in names:
        try:
            found = stat_at(fd, name)
        except OSError as error:
            yield (0, error.errno or errno.EIO, *_NOTHING)
            continue
        birth, birth_ns = divmod(found.btime_ns, NS)
        mask = WANTED if found.btime_ns else WANTED & ~STATX_BTIME
        yield (
            mask, 0, 0, found.links, found.uid, found.gid, found.mode, signed(found.inode), found.size, found.blocks,
            found.atime_ns // NS, birth, birth_ns, found.ctime_ns // NS, found.mtime_ns // NS, *found.dev,
        )  # fmt: skip
