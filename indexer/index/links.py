"""Hard links: one row of each inode is charged for its blocks, whichever names it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from indexer.index import derived
from indexer.index.rows import NS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from indexer.index.directories import Directories
    from indexer.index.rows import Key
    from indexer.index.turn import Turn

MISSED_LIMIT = 100_000
"""Inodes hinted at during a first scan that are remembered; with more, everything is listed once again at its end."""

Inode = tuple[int, int]
"""(filesystem id, inode)."""
INCOMPLETE_LIMIT = 256
"""Inodes with names outside the index that are remembered: a tree of links into another store must not cost more."""
TORN_TRIES = 5
FORMER_LIMIT = 4_096
"""Former names that are remembered of inodes that have others."""


class Links:
    """The inodes with several links that one transaction touches: their other names' rows are to be refreshed."""

    def __init__(self, connection: Any, directories: Directories, turn: Turn) -> None:
        self._connection = connection
        self._directories = directories
        self._turn = turn
        self.hinted = False
        """What is compared now was hinted at: it may differ from what has been listed of other names."""
        self._missed: set[Inode] = set()
        self._touched: set[Inode] = set()
        self._expanded: set[Inode] = set()
        self._incomplete: dict[Inode, None] = {}
        self._torn: dict[Inode, int] = {}
        self._former: dict[tuple[int, Key], Inode] = {}
        self._before: tuple[dict[Inode, None], dict[Inode, int]] = {}, {}

    def begin(self) -> None:
        """Start a transaction."""
        self._before = dict(self._incomplete), dict(self._torn)
        self._touched = set(self._torn)
        self._expanded.clear()
        self.hinted = False
        if not self._turn.bulk:
            self._missed.clear()

    def rollback(self) -> None:
        """It failed."""
        self._incomplete, self._torn = self._before

    @property
    def torn(self) -> bool:
        """Rows of one inode disagree: the next transaction looks at all of them again."""
        return bool(self._torn)

    def note(self, filesystem_id: int, inode: int) -> None:
        """A name of this inode appeared, vanished or changed."""
        self._touched.add((filesystem_id, inode))
        if self.hinted and self._turn.bulk and len(self._missed) < MISSED_LIMIT:
            self._missed.add((filesystem_id, inode))

    def departed(self, directory_id: int, key: Key, filesystem_id: int, inode: int) -> None:
        """A name of an inode with several is gone: whoever still writes through it is reported under that name."""
        self.note(filesystem_id, inode)
        self._former[directory_id, key] = filesystem_id, inode
        if len(self._former) > FORMER_LIMIT:
            del self._former[next(iter(self._former))]

    def doubt_former(self, directory_id: int, keys: Iterable[Key]) -> None:
        """These names were hinted at: what bore one of them before may be meant, and has other names."""
        if self._former:
            self._touched.update(inode for key in keys if (inode := self._former.get((directory_id, key))) is not None)

    def doubt_incomplete(self) -> None:
        """A name came and went unseen: it may have been one of those that are missing of an inode with several."""
        self._touched.update(self._incomplete)

    def note_all_in(self, directory_id: int) -> None:
        """A directory is about to be dropped: the files that it shares with others lose a name."""
        self.hinted = True
        filesystem_id = self._directories.filesystem_of(directory_id).id
        for (inode,) in self._connection.execute(
            "SELECT inode FROM file WHERE directory_id = ? AND links > 1", (directory_id,)
        ):
            self.note(filesystem_id, inode)
        self.hinted = False

    def missed(self) -> list[tuple[int, Key]] | None:
        """Return the places of the inodes that were hinted at while a first scan ran; None: there were too many."""
        if len(self._missed) >= MISSED_LIMIT:
            return None
        return [(name.directory_id, name.name) for inode in self._missed for name in names_of(self._connection, inode)]

    def other_names(self) -> list[tuple[int, Key]]:
        """Return the places (directory id, name) of the inodes that were noted since the last call."""
        fresh = self._touched - self._expanded
        if not fresh:
            return []
        ensure_inode_index(self._connection)
        self._expanded |= fresh
        return [(name.directory_id, name.name) for inode in fresh for name in names_of(self._connection, inode)]

    def charge_first(self) -> None:
        """Charge one row of every inode with links, once, at the end of a first scan."""
        connection = self._connection
        if connection.execute("SELECT 1 FROM file WHERE links > 1 LIMIT 1").fetchone() is None:
            return
        ensure_inode_index(connection)
        linked = connection.execute(
            "SELECT DISTINCT directory.filesystem_id, file.inode FROM file"
            " JOIN directory ON directory.id = file.directory_id WHERE file.links > 1"
        )
        self._settle(linked.fetchall())

    def refresh_charges(self) -> None:
        """Let exactly one row of each touched inode be charged."""
        self._settle(self._touched)

    def _settle(self, inodes: Iterable[Inode]) -> None:
        for inode in inodes:
            names = names_of(self._connection, inode)
            _charge(self._connection, names)
            self._judge(inode, names)
            if len(self._incomplete) > INCOMPLETE_LIMIT:
                del self._incomplete[next(iter(self._incomplete))]

    def _judge(self, inode: Inode, names: list[Named]) -> None:
        """Remember an inode whose rows cannot all be true: a name of it was looked at before another changed it."""
        tries = self._torn.pop(inode, 0)
        self._incomplete.pop(inode, None)
        for born in {name.born for name in names}:
            file = [name for name in names if name.born == born]
            links = file[0].links
            if (links < len(file) or any(name.stat != file[0].stat for name in file)) and tries < TORN_TRIES:
                self._torn[inode] = tries + 1
            elif links > len(file):
                self._incomplete[inode] = None


def ensure_inode_index(connection: Any) -> None:
    """Make the index on inode, the first time that a store has links (27 bytes a file that others are spared)."""
    if not derived.exists(connection, "file_inode"):
        connection.execute(derived.INODE_INDEX)


class Named(NamedTuple):
    """One name of an inode."""

    directory_id: int
    name: Key
    links: int
    born: int | None
    """Birth in Unix nanoseconds: an inode number that was given again is another file. None: unknown."""
    stat: str
    """What all names of one file have in common."""


def names_of(connection: Any, inode: Inode) -> list[Named]:
    """Return the places where the index has this inode number."""
    return [
        Named(*row)
        for row in connection.execute(
            "SELECT file.directory_id, file.name, file.links,"
            f" (file.mtime + file.ctime_after) * {NS} + file.birth_after,"
            " file.links || ' ' || file.size || ' ' || file.blocks || ' ' || file.permission_id || ' ' ||"
            " file.mtime || ' ' || file.ctime_after"
            " FROM file JOIN directory ON directory.id = file.directory_id"
            " WHERE directory.filesystem_id = ? AND file.inode = ? ORDER BY file.directory_id, file.name",
            inode,
        )
    ]


def _charge(connection: Any, names: list[Named]) -> None:
    """Let exactly one name of each file be charged: the first by directory and name.

    An only name is charged whatever else bears the number: a former name of the same file, whose end is yet to be seen.
    """
    charged: set[int | None] = set()
    for name in names:
        first = int(name.links == 1 or name.born not in charged)
        charged.add(name.born)
        connection.execute(
            "UPDATE file SET charged = ? WHERE directory_id = ? AND name = ? AND charged <> ?",
            (first, name.directory_id, name.name, first),
        )
