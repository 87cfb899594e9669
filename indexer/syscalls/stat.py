"""statx(2): one call for everything the index stores, with the birth time that os.stat lacks on Linux."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading
from typing import Any, NamedTuple

from indexer.records import Identity
from indexer.syscalls._libc import libc, raise_errno

AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100
AT_NO_AUTOMOUNT = 0x800
STATX_BASIC_STATS = 0x7FF
STATX_BTIME = 0x800
STATX_ATTR_MOUNT_ROOT = 0x2000

NS = 1_000_000_000
FITS = 1 << 63
"""Signed 64-bit numbers are smaller than this."""

_NEAR = 1 << 62
"""Nanoseconds: times nearer than this to 1970 (before 2116), and their differences, fit as they are."""
_MOUNT_ROOT = STATX_ATTR_MOUNT_ROOT
_new = tuple.__new__

WANTED = STATX_BASIC_STATS | STATX_BTIME
NOFOLLOW = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT

# struct statx (include/uapi/linux/stat.h). In order: mask, attributes, nlink, uid, gid, mode, ino, size, blocks,
# (sec, nsec) of atime, btime, ctime, mtime, then dev_major, dev_minor.
STATX = struct.Struct("=I4xQIIIH2xQQQ8xqI4xqI4xqI4xqI4x8xII")
STATX_SIZE = 256

HAVE_STATX = sys.platform == "linux" and hasattr(libc, "statx")
_call: Any = libc.statx if HAVE_STATX and libc is not None else None
_OBJECT = AT_EMPTY_PATH | NOFOLLOW


class FileStat(NamedTuple):
    """What one stat says; times in nanoseconds within 64 bits (1677 to 2262), sizes in bytes, blocks of 512 bytes."""

    mode: int
    links: int
    uid: int
    gid: int
    inode: int
    size: int
    blocks: int
    atime_ns: int
    btime_ns: int
    """0 where the filesystem keeps no birth time, or one that cannot be."""
    ctime_ns: int
    mtime_ns: int
    dev: tuple[int, int]
    mount_root: bool
    """The name is a mount point (also a bind mount of the same filesystem)."""

    @property
    def identity(self) -> Identity:
        """Which file this is, whatever its name."""
        return Identity(self.inode, self.btime_ns)


_local = threading.local()


def _buffer() -> ctypes.Array[ctypes.c_char]:
    buffer: ctypes.Array[ctypes.c_char] | None = getattr(_local, "buffer", None)
    if buffer is None:
        buffer = _local.buffer = ctypes.create_string_buffer(STATX_SIZE)
    return buffer


def stat_at(dir_fd: int, name: bytes) -> FileStat:
    """Stat `name` in the directory `dir_fd` without following a symlink or triggering an automount.

    Raises OSError, FileNotFoundError when the name is gone.
    """
    if not HAVE_STATX:
        return _from_os(os.stat(name, dir_fd=dir_fd, follow_symlinks=False))
    return _statx(dir_fd, name, NOFOLLOW)


def exists_at(dir_fd: int, name: bytes) -> bool:
    """Say whether anything has this name in the directory `dir_fd`, a dangling symlink too. Raises OSError."""
    try:
        stat_at(dir_fd, name)
    except FileNotFoundError:
        return False
    return True


def stat_fd(fd: int) -> FileStat:
    """Stat the object an open descriptor (also O_PATH) refers to."""
    if not HAVE_STATX:
        return _from_os(os.stat(fd))
    return _statx(fd, b"", _OBJECT)


Times = tuple[int, int, int, tuple[int, int], bool]
"""Inode, mtime and ctime in nanoseconds, device, and whether it is the root of a mount."""


def times_at(dir_fd: int, name: bytes) -> Times:
    """Stat `name` for what tells whether a directory has changed: less work than `stat_at`. Raises OSError."""
    if not HAVE_STATX:
        found = stat_at(dir_fd, name)
        return found.inode, found.mtime_ns, found.ctime_ns, found.dev, found.mount_root
    buffer = _buffer()
    if _call(dir_fd, name, NOFOLLOW, WANTED, buffer):
        raise_errno(name)
    _, attributes, _, _, _, _, inode, _, _, _, _, _, _, ct, ct_ns, mt, mt_ns, ma, mi = STATX.unpack_from(buffer)
    return inode, within(mt * NS + mt_ns), within(ct * NS + ct_ns), (ma, mi), attributes & _MOUNT_ROOT != 0


def _statx(dir_fd: int, name: bytes, flags: int) -> FileStat:
    buffer = _buffer()
    if _call(dir_fd, name, flags, WANTED, buffer):
        raise_errno(name)
    return unpack_stat(buffer)


def within(ns: int) -> int:
    """Return a time as 64 bits hold it: `touch` can set others, and a database takes no more."""
    if -FITS <= ns < FITS:
        return ns
    return -FITS if ns < 0 else FITS - 1


def unpack_stat(data: ctypes.Array[ctypes.c_char] | bytes) -> FileStat:
    """Return what a `struct statx` says."""
    (
        mask, attributes, links, uid, gid, mode, inode, size, blocks,
        at, at_ns, bt, bt_ns, ct, ct_ns, mt, mt_ns, ma, mi,
    ) = STATX.unpack_from(data)  # fmt: skip
    born = bt * NS + bt_ns if mask & STATX_BTIME else 0
    at, ct, mt = at * NS + at_ns, ct * NS + ct_ns, mt * NS + mt_ns
    if not (-_NEAR < at < _NEAR and -_NEAR < ct < _NEAR and -_NEAR < mt < _NEAR and -_NEAR < born < _NEAR):
        born = born if -FITS <= born - (ct - ct_ns) < FITS else 0
        at, ct, mt = within(at), within(ct), within(mt)
    # A tuple as it is: with the names of the fields it takes 1 µs more (measured), and a removal looks at every file.
    return _new(
        FileStat,
        (mode, links, uid, gid, inode, size, blocks, at, born, ct, mt, (ma, mi), attributes & _MOUNT_ROOT != 0),
    )


def _from_os(st: os.stat_result) -> FileStat:
    """The same from os.stat, for platforms without statx (macOS and Python 3.12's Windows have st_birthtime)."""
    birth = getattr(st, "st_birthtime_ns", None) or int(getattr(st, "st_birthtime", 0) * NS)
    blocks = getattr(st, "st_blocks", -(-st.st_size // 512))
    return FileStat(
        st.st_mode,
        st.st_nlink,
        st.st_uid,
        st.st_gid,
        st.st_ino,
        st.st_size,
        blocks,
        within(st.st_atime_ns),
        birth if -FITS <= birth - st.st_ctime_ns // NS * NS < FITS else 0,
        within(st.st_ctime_ns),
        within(st.st_mtime_ns),
        (st.st_dev >> 8, st.st_dev & 0xFF),
        False,
    )
