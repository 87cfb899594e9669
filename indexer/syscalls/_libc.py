"""The C library, once, and how its failures become OSError."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None


def function(name: str, restype: Any, *argtypes: Any) -> Any:
    """Return the C function `name` with its prototype, or a stand-in that raises ENOSYS where libc has none."""
    found = getattr(libc, name, None) if libc is not None else None
    if found is None:

        def missing(*_: object) -> int:
            raise OSError(errno.ENOSYS, f"{name} is not available on this platform")

        return missing
    found.restype = restype
    found.argtypes = argtypes
    return found


def raise_errno(filename: bytes | str | None = None) -> None:
    """Raise OSError for the errno of the last call made through `libc` in this thread."""
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code), filename)
