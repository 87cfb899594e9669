"""syscall(2), for calls that the C library has no wrapper for; every user gets a prototype of its own."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

from indexer.syscalls._libc import libc


def raw(*argtypes: Any) -> Any:
    """Return syscall(number, …) with these types of further arguments, or a stand-in that raises ENOSYS."""
    try:
        found = libc["syscall"] if libc is not None else None  # by item: by attribute all users share one prototype
    except AttributeError:
        found = None
    if found is None:

        def missing(*_: object) -> int:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        return missing
    found.restype = ctypes.c_long
    found.argtypes = (ctypes.c_long, *argtypes)
    return found
