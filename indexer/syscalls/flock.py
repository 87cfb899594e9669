"""flock(2) as a question: does somebody hold a lock on this directory?"""

from __future__ import annotations

import errno
import sys

if sys.platform != "win32":
    import fcntl

_NO_FLOCK = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
"""The filesystem has no flock for what is open for reading (NFS answers EBADF): there is nothing to respect."""


def locked(fd: int) -> bool:
    """True when somebody holds a flock, shared or exclusive, on the directory `fd` (not O_PATH).

    The convention of systemd-tmpfiles (tmpfiles.d(5)): whoever locks a directory keeps its contents. The lock taken
    to find out is given back at once. Raises OSError.
    """
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return False
        raise
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
