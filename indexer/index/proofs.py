"""When a directory's times may be relied upon: a later quick pass compares them and lists only what differs."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from indexer.index.directories import DetachedError, GoneError
from indexer.syscalls.stat import stat_fd

if TYPE_CHECKING:
    from collections.abc import Collection

    from indexer.index.directories import Directories

SETTLED_NS = 10_000_000
"""A directory's times prove nothing until they are this old: the kernel's clock ticks, events come a little late."""


AT_ONCE = 200
"""Touched directories that are looked at once more in one batch."""


class Proofs:
    """Directories that hints have touched: once quiet, their times are taken, and stored a quiet moment later."""

    def __init__(self, connection: Any, directories: Directories) -> None:
        self._connection = connection
        self._directories = directories
        self._touched: dict[int, None] = {}
        self._waiting: dict[int, tuple[int, int, int]] = {}
        self._before: dict[int, tuple[int, int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting or self._touched)

    def begin(self) -> None:
        """Start a transaction."""
        self._before = dict(self._waiting)

    def rollback(self) -> None:
        """It failed. What was touched may be forgotten: then nothing is proved, and a quick pass lists it."""
        self._waiting = self._before

    def touch(self, directory_id: int) -> None:
        """Some of its names were looked at."""
        self._touched[directory_id] = None

    def discard(self, directory_id: int) -> None:
        """It was listed, which proves more, or it has left the store."""
        self._waiting.pop(directory_id, None)
        self._touched.pop(directory_id, None)

    def seek(self, at_ns: int, seen: Collection[int]) -> None:
        """Take the times of touched directories that are quiet: not among those `seen` in this batch."""
        for directory_id in list(islice(self._touched, AT_ONCE)):
            del self._touched[directory_id]
            if directory_id in seen:
                self._touched[directory_id] = None  # at the end of the line
                continue
            try:
                own = stat_fd(self._directories.open(directory_id))
            except (GoneError, DetachedError, OSError):
                continue  # then nothing is proved
            self._waiting[directory_id] = (own.mtime_ns, own.ctime_ns, at_ns)

    def confirm(self, at_ns: int) -> None:
        """Everything that the kernel held at `at_ns` has been applied: store the times that are older than that."""
        ripe = [
            (mtime, ctime, seen, directory_id)
            for directory_id, (mtime, ctime, seen) in self._waiting.items()
            if abs(at_ns - seen) > SETTLED_NS
        ]
        self._connection.executemany(
            "UPDATE directory SET mtime_ns = ?, ctime_ns = ?, listed_ns = ? WHERE id = ? AND listed_ns > 0",
            [row for row in ripe if row[2] < at_ns],  # a clock that was set back proves nothing
        )
        for row in ripe:
            del self._waiting[row[3]]
