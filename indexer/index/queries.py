"""The read side of the index: whatever is asked of it, at a cost that grows with the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from indexer.events import ROOT_ID
from indexer.index import derived
from indexer.index.database import connect_reader
from indexer.index.paths import Paths
from indexer.index.rows import CLASS, COLUMNS, DIRECTORY, NS, PERMISSION, SELECT, decode, key_of, name_of

if TYPE_CHECKING:
    from indexer.records import IndexedFile

EVICTION = {
    "clock": "clock, directory_id, name",
    "size": "blocks DESC, clock, directory_id, name",
    "first_seen": "first_seen, clock, directory_id, name",
}
"""ORDER BY of each order of eviction; `derived.keep_orders` makes indexes for the last two."""
AT_ONCE = 2_000
"""Rows that are fetched together, at most."""


class Totals(NamedTuple):
    """Sums over a store or a class; sizes in bytes."""

    files: int = 0
    directories: int = 0
    bytes: int = 0
    allocated: int = 0


class Reader:
    """A read-only connection to `index.db`. One for each thread."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._paths = Paths()
        self._permissions: dict[int, tuple[int, int, int]] = {}
        self._classes: dict[int, str] = {}
        self._ahead: dict[int, tuple[int | None, str | bytes]] = {}
        """(parent, name) of directories that the rows in hand lie in."""

    @classmethod
    def open(cls, path: Path) -> Reader:
        """Open the index at `path`. Raises NotScannedError, IndexDatabaseError."""
        return cls(connect_reader(path))

    def close(self) -> None:
        """Give the connection back."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def forget(self) -> None:
        """Drop cached paths: call it before a question when the connection is kept for long."""
        self._paths.clear()
        self._ahead.clear()

    def meta(self, key: str) -> str | None:
        """Return one of the index's facts about itself (see `index.meta`), None where there is none."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    @property
    def complete(self) -> bool:
        """The whole tree has been listed at least once."""
        return self.meta("complete") is not None

    def unverified(self) -> Callable[[int], bool]:
        """Return a question about a directory id: has it yet to be verified since the last gap (restart, overflow)?"""
        doubted = int(self.meta("doubted") or 0)
        if not doubted:
            return lambda _directory_id: False
        known: dict[int, bool] = {}

        def ask(directory_id: int) -> bool:
            if directory_id not in known:
                row = self.connection.execute(
                    "SELECT verified_ns FROM directory WHERE id = ?", (directory_id,)
                ).fetchone()
                known[directory_id] = row is None or row[0] < doubted
            return known[directory_id]

        return ask

    # Sums, from the counters

    def totals(self) -> Totals:
        """Sum up the store, from the counters."""
        files, size, allocated = self.connection.execute(
            "SELECT coalesce(sum(files), 0), coalesce(sum(bytes), 0), coalesce(sum(allocated), 0)"
            f" FROM {derived.counters(self.connection)}"
        ).fetchone()
        directories = self.connection.execute("SELECT count(*) FROM directory").fetchone()[0]
        return Totals(files, directories, size, allocated)

    def live_files(self) -> int:
        """Count the store's files, from the counters."""
        table = derived.counters(self.connection)
        return int(self.connection.execute(f"SELECT coalesce(sum(files), 0) FROM {table}").fetchone()[0])

    def class_totals(self) -> dict[str | None, Totals]:
        """Sum up each class (None: files in no class), from the counters; its directories are not counted (0)."""
        rows = self.connection.execute(
            "SELECT class_id, sum(files), 0, sum(bytes), sum(allocated)"
            f" FROM {derived.counters(self.connection)} WHERE files > 0 GROUP BY class_id"
        )
        return {(self.class_name(row[0]) if row[0] else None): Totals(*row[1:]) for row in rows}

    # Directories

    def directory_path(self, directory_id: int) -> bytes | None:
        """Return where a directory lies, relative to the root; None for one that hangs in limbo."""
        known = self._paths.get(directory_id)
        if known is not None:  # asked several times a row
            return known
        place = self._ahead.get(directory_id)
        if place is not None and place[0] is not None and (above_it := self._paths.get(place[0])) is not None:
            path = name_of(place[1])  # the usual way of a plan, in which every file may lie in another directory
            if above_it:
                path = above_it + b"/" + path
            self._paths.remember(directory_id, path)
            return path
        names: list[bytes] = []
        current, above, base = directory_id, None, b""
        seen: set[int] = set()
        while current != ROOT_ID:
            cached = self._paths.get(current)
            if cached is not None:
                base = cached
                break
            row = (
                self._ahead.get(current)
                or self.connection.execute("SELECT parent_id, name FROM directory WHERE id = ?", (current,)).fetchone()
            )
            if row is None or row[0] is None or current in seen:
                return None
            seen.add(current)
            names.append(name_of(row[1]))
            current = row[0]
            above = above or current
        path = b"/".join([base, *reversed(names)] if base else reversed(names))
        if above is not None:  # its neighbours ask for that
            self._paths.remember(above, path[: -len(names[0]) - 1] if len(names) > 1 or base else b"")
        self._paths.remember(directory_id, path)
        return path

    def _look_ahead(self, directory_ids: set[int]) -> None:
        """Read the rows of directories that are about to be asked for, all at once: a third of the time (measured)."""
        unknown = [number for number in directory_ids if self._paths.get(number) is None]
        self._ahead = {}
        if len(unknown) > 1:
            rows = self.connection.execute(
                "SELECT d.id, d.parent_id, d.name FROM json_each(?) j CROSS JOIN directory d ON d.id = j.value",
                (json.dumps(unknown),),
            )
            self._ahead = {row[0]: (row[1], row[2]) for row in rows}

    def directory_id(self, path: bytes) -> int | None:
        """Return the id of the directory at `path` (relative; b"" is the root), None where there is none."""
        current = ROOT_ID
        for name in path.split(b"/") if path else ():
            row = self.connection.execute(
                "SELECT id FROM directory WHERE parent_id = ? AND name = ?", (current, key_of(name))
            ).fetchone()
            if row is None:
                return None
            current = row[0]
        return int(current)

    def empty_directories(self, before: int) -> Iterator[bytes]:
        """Yield the paths of directories that hold nothing, and in which no name changed since `before` (Unix seconds).

        A pass over the directories; files that are not indexed are not seen, so look before you touch.
        """
        rows = self.connection.execute(
            "SELECT d.id FROM directory d WHERE d.parent_id IS NOT NULL AND d.problem IS NULL AND d.listed_ns > 0"
            " AND d.mtime_ns < ? AND NOT EXISTS (SELECT 1 FROM directory c WHERE c.parent_id = d.id)"
            " AND NOT EXISTS (SELECT 1 FROM usage u WHERE u.directory_id = d.id AND u.files > 0)",
            (before * NS,),
        )
        return (path for (row,) in rows.fetchall() if (path := self.directory_path(row)) is not None)

    def holds_only(self, path: bytes, gone: AbstractSet[bytes]) -> bool:
        """Say whether a directory (relative to the root) holds no indexed name but the directories `gone`."""
        directory_id = self.directory_id(path)
        if (
            directory_id is None
            or self.connection.execute(
                "SELECT 1 FROM usage WHERE directory_id = ? AND files > 0 LIMIT 1", (directory_id,)
            ).fetchone()
        ):
            return False
        rows = self.connection.execute("SELECT name FROM directory WHERE parent_id = ?", (directory_id,))
        return all((path + b"/" + name_of(name) if path else name_of(name)) in gone for (name,) in rows)

    def problems(self) -> list[tuple[bytes, int]]:
        """Return (path, errno) of the directories that could not be listed; EXDEV: another filesystem, not entered."""
        rows = self.connection.execute("SELECT id, problem FROM directory WHERE problem IS NOT NULL ORDER BY id")
        return [(path, code) for row, code in rows.fetchall() if (path := self.directory_path(row)) is not None]

    # Files

    def file(self, path: bytes) -> IndexedFile | None:
        """Return the row of one path (relative to the root), None where there is none."""
        directory, _, name = path.rpartition(b"/")
        directory_id = self.directory_id(directory)
        if directory_id is None:
            return None
        row = self.connection.execute(
            f"{SELECT} WHERE directory_id = ? AND name = ?", (directory_id, key_of(name))
        ).fetchone()
        return None if row is None else next(self._decoded([row], {directory_id}), None)

    def files_in(self, directory_id: int) -> Iterator[IndexedFile]:
        """Yield the files directly in a directory, by name."""
        yield from self.decoded(self.connection.execute(f"{SELECT} WHERE directory_id = ?", (directory_id,)))

    def due(self, class_name: str, before: int, since: int | None = None) -> Iterator[IndexedFile]:
        """Yield the files of a class whose stored clock is before `before` (Unix seconds), oldest first.

        With `since` only those whose clock is not before that. For classes that use atime the stored clock is a lower
        bound: this is a superset of what is due.
        """
        columns = ", ".join(f"file.{column.strip()}" for column in COLUMNS.split(","))
        rows = self.connection.execute(
            f"SELECT {columns} FROM class CROSS JOIN file ON file.class_id = class.id"
            " WHERE class.name = ? AND file.clock < ? AND file.clock >= ? ORDER BY file.clock",
            (class_name, before, -(2**62) if since is None else since),
        )
        yield from self.decoded(rows)

    def in_order(self, class_name: str, order: str) -> Iterator[IndexedFile]:
        """Yield the aged files of a class as they give way by `order`: clock, size (allocated) or first_seen.

        By clock through the clock index (for a class by access in the order of the lower bounds). For the others
        through an index of their own, which the writer makes where the policy has such a quota; before it has, one
        pass over the class and a sort.
        """
        row = self.connection.execute("SELECT id FROM class WHERE name = ?", (class_name,)).fetchone()
        if row is not None:
            yield from self.decoded(self.connection.execute(self.order_query(row[0], order)))

    def order_query(self, class_id: int, order: str) -> str:
        """Return the SQL of `in_order`.

        A partial index serves where its condition stands there literally, and is asked for by name, since the planner
        would rather sort what the clock index finds.
        """
        index = f"file_by_{order}_{class_id}"
        there = self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (index,)).fetchone()
        hint = f' INDEXED BY "{index}"' if there is not None else ""
        return f"{SELECT}{hint} WHERE class_id = {class_id} AND clock IS NOT NULL ORDER BY {EVICTION[order]}"

    def files_below(self, directory_id: int, class_name: str) -> Iterator[IndexedFile]:
        """Yield the aged files of a class in a directory and below, in no order; costs what lies there."""
        rows = self.connection.execute(
            "WITH RECURSIVE below (id) AS (SELECT ? UNION ALL"
            " SELECT d.id FROM below CROSS JOIN directory d ON d.parent_id = below.id)"
            f" SELECT {', '.join(f'file.{column.strip()}' for column in COLUMNS.split(','))}"
            " FROM below CROSS JOIN file ON file.directory_id = below.id"
            " WHERE file.class_id = (SELECT id FROM class WHERE name = ?) AND file.clock IS NOT NULL",
            (directory_id, class_name),
        )
        yield from self.decoded(rows)

    def children_usage(self, class_name: str, own: bytes) -> dict[bytes, Totals]:
        """Sum up each direct child directory of a class's own directory, by its path, from the counters."""
        directory_id = self.directory_id(own)
        if derived.exists(self.connection, derived.BELOW):
            rows = self.connection.execute(
                "SELECT d.name, coalesce(u.files, 0) + coalesce(b.files, 0),"
                " coalesce(u.files > 0, 0) + coalesce(b.directories, 0), coalesce(u.bytes, 0) + coalesce(b.bytes, 0),"
                " coalesce(u.allocated, 0) + coalesce(b.allocated, 0) FROM class c CROSS JOIN directory d"
                " LEFT JOIN usage u ON u.directory_id = d.id AND u.class_id = c.id"
                f" LEFT JOIN {derived.BELOW} b ON b.directory_id = d.id AND b.class_id = c.id"
                " WHERE d.parent_id = ? AND c.name = ? AND coalesce(u.files, 0) + coalesce(b.files, 0) > 0",
                (directory_id, class_name),
            )
            base = own + b"/" if own else b""
            return {base + name_of(row[0]): Totals(*row[1:]) for row in rows}
        rows = self.connection.execute(
            "WITH RECURSIVE below (id, child) AS (SELECT d.id, d.id FROM directory d WHERE d.parent_id = ? UNION ALL"
            " SELECT d.id, below.child FROM below CROSS JOIN directory d ON d.parent_id = below.id)"
            " SELECT below.child, sum(u.files), count(*), sum(u.bytes), sum(u.allocated)"
            " FROM below CROSS JOIN usage u ON u.directory_id = below.id"
            " WHERE u.class_id = (SELECT id FROM class WHERE name = ?) AND u.files > 0 GROUP BY below.child",
            (directory_id, class_name),
        ).fetchall()
        return {path: Totals(*row[1:]) for row in rows if (path := self.directory_path(row[0])) is not None}

    def decoded(self, rows: Any) -> Iterator[IndexedFile]:
        """Yield the rows of a cursor over COLUMNS as values, without those whose directory has no path now.

        They are fetched by more and more at once, so that whoever wants a few does not pay for many.
        """
        size = 16
        while some := rows.fetchmany(size):
            size = min(2 * size, AT_ONCE)
            here = {row[DIRECTORY] for row in some}
            self._look_ahead(here)
            yield from self._decoded(some, here)

    def timeless(self, class_name: str, now: int) -> int:
        """Count the files of a class whose clock is to come after `now` (Unix seconds), or never: by the index alone.

        In a class that ages by the times in names these are the names without a time, or with one to come.
        """
        return int(
            self.connection.execute(
                "SELECT count(*) FROM class CROSS JOIN file ON file.class_id = class.id"
                " WHERE class.name = ? AND file.clock > ?",
                (class_name, now),
            ).fetchone()[0]
        )

    def class_name(self, class_id: int) -> str | None:
        """Return the name of a class."""
        name = self._classes.get(class_id)
        if name is None:
            row = self.connection.execute("SELECT name FROM class WHERE id = ?", (class_id,)).fetchone()
            if row is None:
                return None
            name = self._classes[class_id] = str(row[0])
        return name

    def _decoded(self, rows: Sequence[tuple[Any, ...]], here: set[int]) -> Iterator[IndexedFile]:
        paths = {directory_id: self.directory_path(directory_id) for directory_id in here}
        for row in rows:
            directory = paths[row[DIRECTORY]]
            if directory is None:
                continue
            permission = self._permissions.get(row[PERMISSION])
            if permission is None:
                permission = self.connection.execute(
                    "SELECT mode, uid, gid FROM permission WHERE id = ?", (row[PERMISSION],)
                ).fetchone()
                self._permissions[row[PERMISSION]] = permission
            class_id = row[CLASS]
            yield decode(row, directory, permission, None if class_id is None else self.class_name(class_id))
