"""The directories of the tree: which row a kernel key means, where it lies now, and how it is reached for certain.

A name is only ever stat'ed relative to a descriptor of the directory that was registered: opened by its handle, or by
path and then compared with the handle. Plain path look-ups diverged in 28 of 400 fuzzed runs (measured).
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.events import ROOT_ID, DirectoryKey, directory_key
from indexer.index.paths import Paths
from indexer.index.reach import LOOK, READ, GoneError, Reacher
from indexer.index.rows import Key, key_of, name_of

if TYPE_CHECKING:
    from indexer.index.subtrees import Subtrees

CACHE_LIMIT = 100_000

__all__ = ["DetachedError", "Directories", "Filesystem", "GoneError"]


class DetachedError(Exception):
    """The directory hangs in limbo, or below one that does: it has no path now."""


@dataclass(slots=True)
class Filesystem:
    """One filesystem of the store, opened at its uppermost directory in it."""

    id: int
    """1: the root's. The others keep theirs by their path, in whatever order the configuration names them."""
    fd: int
    dev: tuple[int, int]
    fsid: int
    path: bytes = b""
    absent: str = ""
    """Why it cannot be reached now (nothing is mounted there); its rows stay as they are, and `fd` is -1."""
    named: bool = True
    """The configuration names it; False for one that it named before, as long as there are rows of it."""


class Directories:
    """The directory table through the writer's connection, with bounded caches."""

    def __init__(self, connection: Any, filesystems: list[Filesystem], subtrees: Subtrees) -> None:
        self._connection = connection
        self._subtrees = subtrees
        self.filesystems = {filesystem.id: filesystem for filesystem in filesystems}
        self._by_fsid: dict[int, list[int]] = {}
        for filesystem in filesystems:  # two parts of a store may be mounts of the same one
            if not filesystem.absent:
                self._by_fsid.setdefault(filesystem.fsid, []).append(filesystem.id)
        self.absent = {each.path: each for each in filesystems if each.absent and each.named}
        """The named filesystems that are not mounted now, by their path: what is in their place is not theirs."""
        self._ids: dict[bytes, int] = {}
        self._paths = Paths()
        self._filesystem_of: dict[int, int] = {}
        self._open: dict[int, int] = {}
        self._leaves: set[int] = set()
        self._reacher = Reacher(filesystems[0].fd)

    # Which directory

    def id_of(self, key: DirectoryKey) -> int | None:
        """Return the id of the directory a watcher means, None when it is not the store's."""
        if isinstance(key, int):
            return key if self.exists(key) else None
        if isinstance(key, str):
            return self.at_path(os.fsencode(key))
        known = self._ids.get(key)
        if known is not None:
            return known
        for filesystem in self._by_fsid.get(int.from_bytes(key[:8], sys.byteorder), ()):
            row = self._connection.execute(
                "SELECT id FROM directory WHERE handle = ? AND filesystem_id = ?", (key[8:], filesystem)
            ).fetchone()
            if row is not None:
                self._remember(key, row[0])
                return int(row[0])
        return None

    def at_path(self, path: bytes) -> int | None:
        """Return the id of the directory at this path relative to the root."""
        current = ROOT_ID
        for name in path.split(b"/") if path else ():
            row = self._connection.execute(
                "SELECT id FROM directory WHERE parent_id = ? AND name = ?", (current, key_of(name))
            ).fetchone()
            if row is None:
                return None
            current = row[0]
        return current

    def key(self, directory_id: int) -> bytes:
        """Return the key under which a watcher reports this directory."""
        handle, filesystem = self._connection.execute(
            "SELECT handle, filesystem_id FROM directory WHERE id = ?", (directory_id,)
        ).fetchone()
        return directory_key(self.filesystems[filesystem].fsid, handle)

    def filesystem_of(self, directory_id: int) -> Filesystem:
        """Return the filesystem a directory lies on."""
        found = self._filesystem_of.get(directory_id)
        if found is None:
            found = self._connection.execute(
                "SELECT filesystem_id FROM directory WHERE id = ?", (directory_id,)
            ).fetchone()[0]
            if len(self._filesystem_of) >= CACHE_LIMIT:
                self._filesystem_of.clear()
            self._filesystem_of[directory_id] = found
        return self.filesystems[found]

    def path(self, directory_id: int) -> bytes:
        """Return where a directory lies now, relative to the root. Raises DetachedError."""
        names: list[bytes] = []
        current, seen = directory_id, set()
        base = b""
        while current != ROOT_ID:
            cached = self._paths.get(current)
            if cached is not None:
                base = cached
                break
            if current in seen:
                raise DetachedError(directory_id)  # two moves half seen: their hints are still to come
            seen.add(current)
            row = self._connection.execute("SELECT parent_id, name FROM directory WHERE id = ?", (current,)).fetchone()
            if row is None or row[0] is None:
                raise DetachedError(directory_id)
            names.append(name_of(row[1]))
            current = row[0]
        if base:
            names.append(base)
        path = b"/".join(reversed(names))
        self._paths.remember(directory_id, path)
        return path

    def attached(self, directory_id: int) -> bool:
        """Say whether a directory has a path now: neither it nor one above it is in limbo."""
        try:
            self.path(directory_id)
        except DetachedError:
            return False
        return True

    def ring(self, directory_id: int) -> tuple[int, int, Key] | None:
        """Return (id, parent id, name) of a directory in the ring that this one lies in or below; None: there is none.

        Moves that were half seen leave rings. What breaks one is the look at where one of its directories is now.
        """
        current, seen = directory_id, set()
        while current != ROOT_ID:
            row = self._connection.execute("SELECT parent_id, name FROM directory WHERE id = ?", (current,)).fetchone()
            if row is None or row[0] is None:
                return None
            if current in seen:
                return current, row[0], row[1]
            seen.add(current)
            current = row[0]
        return None

    # Reaching it

    def open(self, directory_id: int, *, listing: bool = False, known: tuple[bytes | None, int] | None = None) -> int:
        """Return a descriptor of the registered directory: the caller's to close when `listing`, else the batch's.

        `known` are its handle and filesystem id, where the caller has read them.

        Raises GoneError when it is not where it is thought to be, OSError (EACCES, EIO …) when it cannot be used.
        """
        if not listing:
            fd = self._open.get(directory_id)
            if fd is not None:
                return fd
        row = known
        if row is None:
            row = self._connection.execute(
                "SELECT handle, filesystem_id FROM directory WHERE id = ?", (directory_id,)
            ).fetchone()
        if row is None or row[0] is None:
            raise GoneError(directory_id)
        fd = self._reach(directory_id, row[0], self.filesystems[row[1]], READ if listing else LOOK)
        if not listing:
            if len(self._open) >= 256:
                self.close_all()
            self._open[directory_id] = fd
        return fd

    @property
    def handles_open(self) -> bool:
        """Directories can be opened by their handles (CAP_DAC_READ_SEARCH, and a filesystem that has them)."""
        return self._reacher.handles_open

    def close_all(self) -> None:
        """Close the batch's descriptors: they would pin mounts."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def _reach(self, directory_id: int, handle: bytes, filesystem: Filesystem, flags: int) -> int:
        if filesystem.absent:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        try:
            return self._reacher.reach(filesystem.fd, handle, lambda: self.path(directory_id), flags)
        except DetachedError as error:
            raise GoneError(directory_id) from error

    # Changing it

    def adopt(
        self, parent_id: int, name: Key, handle: bytes | None, inode: int, filesystem_id: int
    ) -> tuple[int, str, bool]:
        """The directory with this handle is at (parent, name) now.

        Returns its id, "known", "moved" or "new", and whether it has never been listed. Another row under that name is
        detached by the caller beforehand.
        """
        connection = self._connection
        self._leaves.discard(parent_id)
        row = None
        if handle is not None:
            row = connection.execute(
                "SELECT id, parent_id, name, listed_ns = 0 AND problem IS NULL FROM directory"
                " WHERE handle = ? AND filesystem_id = ?",
                (handle, filesystem_id),
            ).fetchone()
        if row is not None:
            directory_id = int(row[0])
            if row[1] == parent_id and row[2] == name:
                return directory_id, "known", bool(row[3])
            self._subtrees.finish()  # what has changed in it so far counts where it was
            connection.execute(
                "UPDATE directory SET parent_id = ?, name = ? WHERE id = ?", (parent_id, name, directory_id)
            )
            if row[1] != parent_id:
                if row[1] is not None:
                    self._subtrees.left(directory_id, row[1])
                self._subtrees.came(directory_id, parent_id)
            self._paths.clear()
            return directory_id, "moved", bool(row[3])
        cursor = connection.execute(
            "INSERT INTO directory (parent_id, name, filesystem_id, handle, inode) VALUES (?, ?, ?, ?, ?)",
            (parent_id, name, filesystem_id, handle, inode),
        )
        directory_id = int(cursor.lastrowid)
        if len(self._filesystem_of) < CACHE_LIMIT:
            self._filesystem_of[directory_id] = filesystem_id
        if handle is not None:
            self._remember(directory_key(self.filesystems[filesystem_id].fsid, handle), directory_id)
        return directory_id, "new", True

    def detach(self, directory_id: int, parent_id: int, name: Key) -> bool:
        """Take a displaced directory out of the tree; False when it has been found at another place meanwhile.

        It waits in limbo until it is found again or dropped.
        """
        self._subtrees.finish()
        cursor = self._connection.execute(
            "UPDATE directory SET parent_id = NULL WHERE id = ? AND parent_id = ? AND name = ?",
            (directory_id, parent_id, name),
        )
        if cursor.rowcount:
            self._subtrees.left(directory_id, parent_id)
        self._paths.clear()
        return bool(cursor.rowcount)

    def below(self, directory_id: int) -> Iterator[int]:
        """Yield a directory's id and the ids of all directories below it, parents first."""
        stack = [directory_id]
        while stack:
            current = stack.pop()
            yield current
            stack.extend(
                row[0] for row in self._connection.execute("SELECT id FROM directory WHERE parent_id = ?", (current,))
            )

    def drop(self, directory_id: int) -> list[int]:
        """Delete a directory's row and everything below it; return the ids that are gone."""
        ids = list(self.below(directory_id))
        connection = self._connection
        parameters = [(each,) for each in ids]
        connection.executemany("DELETE FROM file WHERE directory_id = ?", parameters)
        connection.executemany("DELETE FROM usage WHERE directory_id = ?", parameters)
        self._subtrees.finish()
        self._subtrees.gone(ids)
        connection.executemany("DELETE FROM directory WHERE id = ?", parameters)
        self.forget_caches()
        return ids

    def is_leaf(self, directory_id: int) -> bool:
        """Say whether a directory has no subdirectories; remembered, since most that get files have none."""
        if directory_id in self._leaves:
            return True
        row = self._connection.execute("SELECT 1 FROM directory WHERE parent_id = ?", (directory_id,)).fetchone()
        if row is not None:
            return False
        if len(self._leaves) >= CACHE_LIMIT:
            self._leaves.clear()
        self._leaves.add(directory_id)
        return True

    def forget_caches(self) -> None:
        """Start afresh from the table: after a drop, and after a transaction that failed."""
        self._leaves.clear()
        self._ids.clear()
        self._paths.clear()
        self._filesystem_of.clear()

    def handle(self, directory_id: int) -> bytes | None:
        """Return a directory's handle: None for another filesystem's mount point, and where the store was copied."""
        row = self._connection.execute("SELECT handle FROM directory WHERE id = ?", (directory_id,)).fetchone()
        return None if row is None else row[0]

    def verified_ns(self, directory_id: int) -> int:
        """Return when it was last listed, in Unix nanoseconds; 0: never."""
        row = self._connection.execute("SELECT verified_ns FROM directory WHERE id = ?", (directory_id,)).fetchone()
        return 0 if row is None else int(row[0])

    def set_handle(self, directory_id: int, handle: bytes) -> None:
        """A copied store's directory has been found again."""
        self._connection.execute("UPDATE directory SET handle = ? WHERE id = ?", (handle, directory_id))

    def is_mount(self, directory_id: int) -> bool:
        """Say whether another filesystem, which is not entered, is mounted here."""
        row = self._connection.execute("SELECT problem FROM directory WHERE id = ?", (directory_id,)).fetchone()
        return row is not None and row[0] == errno.EXDEV

    def note_problem(self, directory_id: int, code: int) -> None:
        """Not everything in this directory could be looked at: a quick pass tries it again."""
        self._connection.execute("UPDATE directory SET problem = ? WHERE id = ?", (code, directory_id))

    def trouble(self, directory_id: int, error: OSError) -> None:
        """Keep the rows of a directory that cannot be read now, and note why. Raises what is our own shortage."""
        if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}:
            raise error
        self._connection.execute(
            "UPDATE directory SET problem = ?, listed_ns = 0 WHERE id = ?", (error.errno, directory_id)
        )

    def exists(self, directory_id: int) -> bool:
        """Say whether the id is a directory's."""
        return self._connection.execute("SELECT 1 FROM directory WHERE id = ?", (directory_id,)).fetchone() is not None

    def _remember(self, key: bytes, directory_id: int) -> None:
        if len(self._ids) >= CACHE_LIMIT:
            self._ids.clear()
        self._ids[key] = directory_id
