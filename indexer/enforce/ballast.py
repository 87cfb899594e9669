"""Room put aside for the ledger, given up when the disk is full, because that is when removing matters most."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 16 * 1024 * 1024
"""Bytes: room for the intents and outcomes of some 30,000 files, whose removal makes more."""
SPARES = 4
"""Empty files beside it, an inode each: what SQLite needs to open the index where there is no inode left."""
SHARE = 32
"""On a small filesystem no more than this part of it."""

PRIVATE = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
"""Flags for our own files, on platforms that have them."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CANNOT = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EIO}


class Ballast:
    """A file beside the ledger that holds up to `SIZE` bytes of the same filesystem, when there is room for them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _spares(self) -> list[Path]:
        return [self._path.with_suffix(f".spare-{number}") for number in range(SPARES)]

    def put_aside(self) -> bool:
        """Make or refill the file; False where there is no room, or where the filesystem cannot promise any."""
        allocate = getattr(os, "posix_fallocate", None)
        if allocate is None:
            return False
        try:
            for spare in self._spares():
                os.close(os.open(spare, os.O_RDWR | os.O_CREAT | PRIVATE, 0o600))
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | PRIVATE, 0o600)
        except OSError as error:
            if error.errno in _NO_ROOM | _CANNOT:
                return False
            raise
        try:
            found = os.fstatvfs(fd)
            size = min(SIZE, found.f_blocks * found.f_frsize // SHARE)
            if os.fstat(fd).st_size < size:
                allocate(fd, 0, size)
        except OSError as error:
            if error.errno not in _NO_ROOM | _CANNOT:
                raise
            os.ftruncate(fd, 0)
            return False
        finally:
            os.close(fd)
        return True

    def give_up(self) -> bool:
        """Give the room back to the filesystem; False when there was none to give."""
        spared = False
        for spare in self._spares():
            try:
                os.unlink(spare)  # by path: the state directory is 0700
            except FileNotFoundError:
                continue
            spared = True
        try:
            fd = os.open(self._path, os.O_WRONLY | PRIVATE)
        except FileNotFoundError:
            return spared
        try:
            had = os.fstat(fd).st_size > 0
            os.ftruncate(fd, 0)
        finally:
            os.close(fd)
        return had or spared
