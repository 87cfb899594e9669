"""A database's file is made here and never opened here: SQLite's locks do not survive a second descriptor.

fcntl(2): "If a process closes any file descriptor referring to a file, then all of the process's locks on that file are
released", also those of another thread that is in the middle of a transaction (sqlite.org, How To Corrupt, 2.2).
"""

from __future__ import annotations

import errno
import os
import stat


def make_private_file(path: str | os.PathLike[str]) -> None:
    """Make an empty file, 0600, unless it is there; one that is there must be ours to read and write, and no link.

    Raises OSError (EACCES, EROFS, ELOOP, ENOSPC …) with the path.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(path, flags, 0o600))
    except FileExistsError:
        _look(os.fspath(path))


def _look(path: str) -> None:
    if stat.S_ISLNK(os.stat(path, follow_symlinks=False).st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        code = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(code, os.strerror(code), path)
