"""One service and one run per store: flock on files in the control directory, which name their holder."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.config.trust import shown
from indexer.errors import BusyError, FilesystemError

_STEP = 0.02
"""Seconds between two tries."""
_PATIENCE = 3 * _STEP
"""Even without waiting we try this long: somebody who only asks whether the lock is free holds it for an instant."""


@contextmanager
def locked(path: Path, what: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path` exclusively; `what` ("service", "run") is for the message.

    Waits up to `wait` seconds (inf: for ever). Raises BusyError with the holder's process id, FilesystemError where
    the filesystem has no locks or the control directory cannot be written to. A crash releases it.
    """
    fd = _open(path)
    try:
        deadline = time.monotonic() + max(wait, _PATIENCE)
        while not _try(fd, path):
            if time.monotonic() >= deadline:
                raise _busy(fd, path, what, wait)
            time.sleep(_STEP)
        os.ftruncate(fd, 0)
        try:
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise  # a full disk must not keep a run from making room: whoever waits is not told the process
        yield
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def holder(path: Path) -> int | None:
    """Return the process id of whoever holds the lock (0 when it did not say), None when nobody does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(fd)
    else:
        return None
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        remedy = "run as the user who owns the store's control directory"
        if error.errno in {errno.EROFS, errno.ENOSPC, errno.EDQUOT}:
            remedy = "mount it writable and make room, or keep the state elsewhere: [store] state"
        raise FilesystemError(f"{shown(path)}: {error.strerror}", remedy=remedy) from error
    if os.fstat(fd).st_uid == os.geteuid():
        os.fchmod(fd, 0o600)  # whatever the umask
    return fd


def _try(fd: int, path: Path) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}:
            raise FilesystemError(
                f"{shown(path)}: this filesystem has no locks", remedy="keep the state on a local disk: [store] state"
            ) from error
        raise
    return True


def _busy(fd: int, path: Path, what: str, wait: float) -> BusyError:
    pid = _pid(fd)
    who = f"process {pid}" if pid else "another process"
    waited = f" (waited {wait:g} s)" if wait else ""
    remedy = "stop it first, or ask it: `indexer status`" if what == "service" else "wait for it with --wait SECONDS"
    return BusyError(f"{who} holds the {what} lock {shown(path)}{waited}", remedy=remedy)


def _pid(fd: int) -> int:
    """Return the process id that the lock file names, 0 when it names none."""
    try:
        return int(os.pread(fd, 32, 0))
    except ValueError:
        return 0
