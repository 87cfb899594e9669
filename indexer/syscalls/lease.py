"""fcntl(2) leases: the only way on Linux to learn, without a scan of /proc, that nobody has a file open or mapped.

A write lease (F_WRLCK) is granted only where the caller's descriptor is the only one; a read lease (F_RDLCK) only
where nobody has the file open for writing. While it is held, a competing open waits and the holder is told: by SIGIO,
whose default is to end the process, and by F_GETLEASE, which then names what the kernel wants the lease to become.
"""

from __future__ import annotations

import signal
import struct
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform == "linux":
    import fcntl

    _F_SETOWN_EX = 15
    _F_OWNER_TID = 0
    _SETLEASE = fcntl.F_SETLEASE
    _GETLEASE = fcntl.F_GETLEASE
    WRITE = fcntl.F_WRLCK
    """Nobody else has it open, in whatever way."""
    READ = fcntl.F_RDLCK
    """Nobody has it open for writing."""
    HAVE_LEASES = True
else:
    WRITE, READ = 1, 0
    HAVE_LEASES = False


def take(fd: int, kind: int, owner: bytes) -> None:
    """Take the lease `kind` (WRITE or READ) on a descriptor that is open for reading.

    `owner` comes from `signals_here()`. Raises OSError: EAGAIN when somebody has the file open, EACCES for a file
    of somebody else without CAP_LEASE, EINVAL where the filesystem has no leases (NFS, FUSE, procfs …).
    """
    # The owner first: F_SETLEASE would make it the whole process, any thread of which SIGIO would then end.
    fcntl.fcntl(fd, _F_SETOWN_EX, owner)
    fcntl.fcntl(fd, _SETLEASE, kind)


def held(fd: int) -> int:
    """Return the lease that `fd` still has: WRITE or READ as it was taken, anything else once an open competes."""
    return fcntl.fcntl(fd, _GETLEASE)


@contextmanager
def signals_here() -> Iterator[bytes]:
    """Block SIGIO in this thread and yield the owner bytes that send lease breaks to it, and nowhere else.

    On leaving, signals that arrived are thrown away before SIGIO is let through again: what they said was read from
    `held()`.
    """
    if sys.platform != "linux":
        yield b""
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    try:
        yield struct.pack("ii", _F_OWNER_TID, threading.get_native_id())
    finally:
        if signal.SIGIO not in before:
            while signal.sigtimedwait({signal.SIGIO}, 0) is not None:
                pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
