"""The audit: a few names a second are compared with the tree, so that drift is a figure and not a belief.

A difference is only a suspicion: its event may be on the way. It counts when it is still there a look later, after
everything that the kernel held has been applied; then its directory is listed again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from indexer.events import Rescan
from indexer.index.directories import DetachedError
from indexer.index.drift import Drift
from indexer.index.reach import GoneError
from indexer.index.rows import (
    BLOCKS,
    INODE,
    LINKS,
    MTIME,
    NAME,
    PERMISSION,
    SELECT,
    SIZE,
    Key,
    Row,
    bounded,
    key_of,
    name_of,
)
from indexer.index.stats import stats

if TYPE_CHECKING:
    from random import Random

    from indexer.index.apply import Index

SMALL = 500
"""Names up to which a directory is listed too, to find what the index misses."""
MANY = 1_000
"""Modes with their owners that are remembered."""
LIST_EVERY = 2
"""Looks of which one lists: that costs more, and raises an event that wakes the service."""
SAMPLE = 16
"""Files that are stat'ed in one look."""
DEEP = 10_000
"""How far into a large directory the sample reaches (an offset costs as much as it skips)."""

_DIRECTORY = 0o040000
_TYPE = 0o170000


class Audit:
    """Belongs to the writer's thread; `step` is called while nothing waits."""

    def __init__(self, index: Index, random: Random, drift: Drift | None = None) -> None:
        """`drift` goes on counting where an earlier audit ended."""
        self.index = index
        self._random = random
        self._looks = 0
        self._permissions: dict[int, tuple[Any, ...]] = {}
        self.suspects: dict[tuple[int, Key], str] = {}
        """(directory id, name) -> kind of difference, to be looked at once more."""
        self.drift = drift if drift is not None else Drift()

    def step(self) -> int:
        """Look once: at the suspects of the last look, else at a directory by chance; return how many hits there were.

        Call it only after a batch that found the kernel's queue empty, with nothing left to do.
        """
        if self.suspects:
            suspects, self.suspects = self.suspects, {}
            return self._convict(suspects)
        directory_id = self._any_directory()
        self._looks += 1
        if directory_id is not None:
            self.suspects = self._differences(directory_id)
        return 0

    def _convict(self, suspects: dict[tuple[int, Key], str]) -> int:
        hits = 0
        directories = {directory_id for directory_id, _ in suspects}
        for directory_id in directories:
            keys = [key for suspect, key in suspects if suspect == directory_id]
            again = self._differences(directory_id, keys)
            for place, kind in again.items():
                if suspects.get(place) is None:
                    continue
                setattr(self.drift, kind, getattr(self.drift, kind) + 1)
                hits += kind != "late"
            if again:
                self.index.request_rescan(Rescan(directory_id, tree=False, reason="drift"))
        return hits

    def _any_directory(self) -> int | None:
        execute = self.index.connection.execute
        (most,) = execute("SELECT max(id) FROM directory").fetchone()
        row = execute(
            "SELECT id FROM directory WHERE id >= ? AND listed_ns > 0 AND problem IS NULL ORDER BY id LIMIT 1",
            (self._random.randint(1, most),),
        ).fetchone()
        return None if row is None else int(row[0])

    def _differences(self, directory_id: int, keys: list[Key] | None = None) -> dict[tuple[int, Key], str]:
        """Compare a sample of the directory's names, or just `keys`, with the tree."""
        index = self.index
        listing = keys is None and self._looks % LIST_EVERY == 1
        try:
            fd = index.directories.open(directory_id, listing=listing)  # a look that lists nothing raises no event
        except (GoneError, DetachedError, OSError):
            return {}  # its own hint is on the way, or it is reported as unreadable
        try:
            if keys is not None:
                rows = self._rows(directory_id, keys)
            elif (files := self._files(directory_id)) <= SMALL and listing:
                keys = self._names_to_look_at(directory_id, fd)
                rows = self._rows(directory_id, keys)
            else:
                rows = self._some_rows(directory_id, files)
            return self._compare(directory_id, fd, sorted(rows if keys is None else keys, key=str), rows)
        except (OSError, DetachedError):
            return {}
        finally:
            if listing:
                os.close(fd)
            index.directories.close_all()

    def _names_to_look_at(self, directory_id: int, fd: int) -> list[Key]:
        """Return some names of a small directory, and all that only one of index and tree has."""
        known = [
            row[0]
            for row in self.index.connection.execute("SELECT name FROM file WHERE directory_id = ?", (directory_id,))
        ]
        sample = self._random.sample(known, min(SAMPLE, len(known)))
        there: set[Key] = set(os.listdir(fd))
        extra = {key_of(os.fsencode(name)) for name in there.difference(known)}  # directories, and undecodable names
        return [*{*sample, *extra.symmetric_difference(set(known).difference(there))}]

    def _compare(self, directory_id: int, fd: int, keys: list[Key], rows: dict[Key, Row]) -> dict[tuple[int, Key], str]:
        found: dict[tuple[int, Key], str] = {}
        names = [name_of(key) for key in keys]
        for key, name, fields in zip(keys, names, stats(fd, names), strict=True):
            row = rows.get(key)
            there = bool(fields[0]) and fields[6] & _TYPE != _DIRECTORY
            if there and not self.index.wanted(directory_id, name, fields):
                continue
            self.drift.checked += there
            if row is None:
                if there:
                    found[directory_id, key] = "missed"
            elif not there:
                found[directory_id, key] = "ghost"
            elif (row[INODE], row[SIZE], row[MTIME], row[LINKS]) != (
                fields[7],
                fields[8],
                bounded(fields[14]),
                fields[3],
            ) or self._permission(row[PERMISSION]) != (fields[6], fields[4], fields[5]):
                found[directory_id, key] = "wrong"
            elif row[BLOCKS] != fields[9]:
                found[directory_id, key] = "late"
        return found

    def _rows(self, directory_id: int, keys: list[Key]) -> dict[Key, Row]:
        marks = ",".join("?" * len(keys))
        chosen = self.index.connection.execute(
            f"{SELECT} WHERE directory_id = ? AND name IN ({marks})", (directory_id, *keys)
        )
        return {row[NAME]: row for row in chosen}

    def _some_rows(self, directory_id: int, files: int) -> dict[Key, Row]:
        offset = self._random.randrange(min(max(files - SAMPLE, 0), DEEP) + 1)
        chosen = self.index.connection.execute(
            f"{SELECT} WHERE directory_id = ? LIMIT ? OFFSET ?", (directory_id, SAMPLE, offset)
        )
        return {row[NAME]: row for row in chosen}

    def _files(self, directory_id: int) -> int:
        (files,) = self.index.connection.execute(
            "SELECT coalesce(sum(files), 0) FROM usage WHERE directory_id = ?", (directory_id,)
        ).fetchone()
        return int(files)

    def _permission(self, permission_id: int) -> tuple[Any, ...] | None:
        found = self._permissions.get(permission_id)  # such rows are never changed and never removed
        if found is None:
            found = self.index.connection.execute(
                "SELECT mode, uid, gid FROM permission WHERE id = ?", (permission_id,)
            ).fetchone()
            if found is not None and len(self._permissions) < MANY:
                self._permissions[permission_id] = found
        return found
