"""The attribute user.indexer.hold: where `[holds] xattr` allows it, whoever may write a file or directory holds it.

An empty value, or any text (the reason), holds until the attribute goes; `until=TIME`, as ISO 8601 or `@epoch`, before
the reason ends it by itself. What cannot be read as a time holds. On a directory it covers all below.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from indexer.errors import IndexerError
from indexer.units import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.records import IndexedFile

NAME = "user.indexer.hold"
HELD = "held"

_NONE = {errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""No attribute; no attributes on this filesystem; none on symlinks (xattr(7)); nothing is there any more."""
_REMEMBERED = 10_000


def holds(value: bytes, now: float) -> bool:
    """Tell whether a value of the attribute holds at `now` (Unix seconds)."""
    words = value.decode("utf-8", "replace").split()
    if not words or not words[0].startswith("until="):
        return True
    text = words[0].removeprefix("until=")
    if text.startswith("+"):
        return True  # later than when it was written, which nobody knows
    try:
        return now < parse_time(text, now)
    except (IndexerError, ValueError, OverflowError):
        return True


def held_by_descriptor(fd: int, now: float) -> bool:
    """Tell whether the object of a descriptor (O_PATH will do) carries the attribute, and it holds. Raises OSError."""
    return _held(f"/proc/self/fd/{fd}", now, follow=True)


def _held(path: str | bytes, now: float, *, follow: bool) -> bool:
    try:
        value = os.getxattr(path, NAME, follow_symlinks=follow)
    except OSError as error:
        if error.errno in _NONE:
            return False
        raise
    return holds(value, now)


def attribute_blocker(root: bytes, now: float) -> Callable[[IndexedFile], str | None]:
    """Return what keeps files that carry the attribute, or lie below a directory that does; for plans and `explain`.

    By path, so only a foresight: a removal asks the very object again. What cannot be read is left to it.
    """
    directories: dict[bytes, bool] = {}

    def covered(directory: bytes) -> bool:
        found = directories.get(directory)
        if found is None:
            if len(directories) >= _REMEMBERED:
                directories.clear()
            above = bool(directory) and covered(directory.rpartition(b"/")[0])
            found = directories[directory] = above or _seen(os.path.join(root, directory), now)
        return found

    def blocker(file: IndexedFile) -> str | None:
        held = covered(file.directory) or _seen(os.path.join(root, file.path), now)
        return HELD if held else None

    return blocker


def _seen(path: bytes, now: float) -> bool:
    try:
        return _held(path, now, follow=False)
    except OSError:
        return False
