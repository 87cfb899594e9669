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


def raise_no_queue(*sysctls: str) -> None:
    """Raise OSError for a queue of events that was refused; for EMFILE with the limits that may have been reached."""
    code = ctypes.get_errno()
    if code != errno.EMFILE:
        raise_errno()
    try:
        value, name = smallest(*sysctls)
    except OSError:  # not even a file can be opened: the process's own limit
        raise OSError(code, "no descriptor left: raise the process's open files (ulimit -n)") from None
    raise OSError(code, f"no further queue of events: raise {name} ({value}) or the process's open files (ulimit -n)")


def smallest(*sysctls: str) -> tuple[int, str]:
    """Return the smallest of these limits and its name; 0 and the first name where there is none."""
    found = []
    for name in sysctls:
        try:
            with open(f"/proc/sys/{name.replace('.', '/')}", encoding="ascii") as file:
                found.append((int(file.read()), name))
        except FileNotFoundError:
            continue
    return min(found, default=(0, sysctls[0]))
