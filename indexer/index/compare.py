"""The names of one directory against its rows: some of them, because of hints, or all of them, because it is listed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from indexer.index.rows import SELECT, Key, Row, key_of
from indexer.index.stats import stats, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from indexer.index.backlog import Listing
    from indexer.index.children import Children
    from indexer.index.classes import RulesCache
    from indexer.index.directories import Directories
    from indexer.index.files import Files
    from indexer.index.limbo import Limbo
    from indexer.index.links import Links
    from indexer.index.stats import Fields
    from indexer.index.turn import Turn
    from indexer.index.writes import Writes

UTF8 = sys.getfilesystemencoding() == "utf-8"
"""Else the names that Python lists have been decoded in another way than SQLite's text."""
CHUNK = 512
"""Names in one question to SQLite."""


class Comparer:
    """Decides for each name whether it stayed, appeared or vanished, as file and as directory."""

    def __init__(
        self,
        connection: Any,
        directories: Directories,
        rules: RulesCache,
        files: Files,
        children: Children,
        limbo: Limbo,
        links: Links,
        writes: Writes,
        turn: Turn,
    ) -> None:
        self._connection = connection
        self._directories = directories
        self._rules = rules
        self._files = files
        self._children = children
        self._limbo = limbo
        self._links = links
        self._writes = writes
        self._turn = turn

    @property
    def problem(self) -> int | None:
        """Errno of a name that could not be looked at in the last comparison; its row stayed as it was."""
        return self._files.problem

    def names(self, directory_id: int, fd: int, names: list[bytes]) -> None:
        """Bring the rows of these names in agreement with what is there. Raises DetachedError, OSError."""
        self._files.problem = None
        if not names:
            return
        self._writes.before_reading(directory_id)
        keys = [key_of(name) for name in names]
        self._links.doubt_former(directory_id, keys)
        rows = {row[1]: row for row in self._some(f"{SELECT} WHERE directory_id = ?", directory_id, keys)}
        subdirectories: dict[Key, int] = {}
        if not self._directories.is_leaf(directory_id):
            subdirectories.update(self._some("SELECT name, id FROM directory WHERE parent_id = ?", directory_id, keys))
        self._links.hinted = True
        self._agree(directory_id, names, keys, stats(fd, names), rows, subdirectories, lambda: fd, None)
        self._links.hinted = False

    def listing(self, listing: Listing, fd: int, *, verify: bool) -> int:
        """List a directory and bring all of it in agreement; return how many names it has."""
        keys: list[Any] = sorted(os.listdir(fd))  # rows are then appended to the index, and inodes read in order
        names: list[bytes] = []
        if not UTF8:
            names = [os.fsencode(name) for name in keys]
            keys = [key_of(name) for name in names]
            return self._whole(listing, names, keys, stats(fd, names), lambda: fd, verify=verify)
        for position, text in enumerate(keys):
            try:
                names.append(text.encode())
            except UnicodeEncodeError:
                keys[position] = name = text.encode("utf-8", "surrogateescape")
                names.append(name)
        return self._whole(listing, names, keys, stats(fd, names), lambda: fd, verify=verify)

    def prefetched(
        self, listing: Listing, joined: bytes, found: memoryview, open_directory: Callable[[], int], *, verify: bool
    ) -> int:
        """Do the same with what the walker found; `open_directory` is asked only when it has subdirectories."""
        names = joined.split(b"\0") if found.nbytes else []
        try:
            keys: list[Any] = joined.decode().split("\0") if found.nbytes else []
        except UnicodeDecodeError:
            keys = [key_of(name) for name in names]
        return self._whole(listing, names, keys, unpacked(found), open_directory, verify=verify)

    def _whole(
        self,
        listing: Listing,
        names: list[bytes],
        keys: list[Key],
        found: Iterable[Fields],
        open_directory: Callable[[], int],
        *,
        verify: bool,
    ) -> int:
        directory_id = listing.directory_id
        self._writes.before_reading(directory_id)
        rows: dict[Key, Row] = {}
        subdirectories: dict[Key, int] = {}
        if not listing.fresh:
            execute = self._connection.execute
            rows = {row[1]: row for row in execute(f"{SELECT} WHERE directory_id = ?", (directory_id,))}
            subdirectories = dict(execute("SELECT name, id FROM directory WHERE parent_id = ?", (directory_id,)))
        self._agree(directory_id, names, keys, found, rows, subdirectories, open_directory, listing, verify=verify)
        self._turn.done.directories += 1
        self._writes.flush_if_many()
        return len(names)

    def _agree(
        self,
        directory_id: int,
        names: list[bytes],
        keys: list[Key],
        found: Iterable[Fields],
        rows: dict[Key, Row],
        subdirectories: dict[Key, int],
        open_directory: Callable[[], int],
        listing: Listing | None,
        *,
        verify: bool = False,
    ) -> None:
        """`rows` and `subdirectories` are what the index has of `keys`, or of the whole directory when it is listed."""
        rules = self._rules.at(directory_id)
        floor = listing.floor if listing is not None else self._turn.now  # what a hint brings has just come
        children, gone = self._files.compare(directory_id, names, keys, found, rows, rules, floor=floor)
        if (listing is not None and listing.fresh) or gone.difference(rows, subdirectories):
            self._links.doubt_incomplete()
        if rows or subdirectories:
            gone |= (rows.keys() | subdirectories.keys()).difference(keys)
            for key in gone & rows.keys():
                self._files.vanished(directory_id, key, rows[key])
            # Also where a file stands now: what is not among the children is no directory any more.
            for key in subdirectories.keys() - {child.key for child in children}:
                self._children.vanished(directory_id, key, subdirectories[key])
        if children:
            fd = open_directory()
            for child in children:
                if child.key in rows:
                    self._files.vanished(directory_id, child.key, rows[child.key])
                self._children.found(directory_id, fd, child, subdirectories, rules, listing, verify=verify)

    def _some(self, question: str, directory_id: int, keys: list[Key]) -> Iterable[tuple[Any, ...]]:
        """Ask about these names in a directory, some at a time."""
        for start in range(0, len(keys), CHUNK):
            part = keys[start : start + CHUNK]
            part += part[-1:] * (_power_of_two(len(part)) - len(part))  # few statements, so that they stay prepared
            marks = ",".join("?" * len(part))
            yield from self._connection.execute(f"{question} AND name IN ({marks})", (directory_id, *part))


def _power_of_two(number: int) -> int:
    """Return the next power of two."""
    return 1 << (number - 1).bit_length()
