"""Notices of removals that have been published: recorded durably, one a path, the last one counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from indexer.enforce.database import Database
from indexer.enforce.rows import path_columns, path_of, signed, unsigned
from indexer.policy.notices import Notice
from indexer.records import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_COLUMNS = "path, path_bytes, class, published, goes_at, clock_at, inode, birth_ns, reason"
_TOLD = "told"
"""In meta: {event and subject: [when it was last told, how often it was passed over since]}."""
_REMEMBERED = 500


class Notices(Database):
    """The table `notice`, and what else people have been told."""

    def notice(self, path: bytes) -> Notice | None:
        """Return the last notice that named `path` (relative to the store), or None."""
        statement = f"SELECT {_COLUMNS} FROM notice WHERE path = ? AND path_bytes IS ? ORDER BY id DESC LIMIT 1"  # noqa: S608
        rows = self._query(statement, path_columns(path))
        return _notice_of(rows[0]) if rows and rows[0][5] is not None else None

    def add_notices(self, notices: Iterable[Notice]) -> None:
        """Record that these files have been named, durably; each replaces what was said of its path before."""
        rows = [
            (
                *path_columns(one.path),
                one.class_name,
                one.published,
                one.goes_at,
                one.clock_at,
                signed(one.identity.inode),
                one.identity.birth_ns,
                one.reason,
            )
            for one in notices
        ]

        def work(connection: Any) -> None:
            connection.executemany("DELETE FROM notice WHERE path = ? AND path_bytes IS ?", [row[:2] for row in rows])
            connection.executemany(f"INSERT INTO notice ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608

        self._write(work)

    def named(self, class_name: str, before: int) -> Iterator[bytes]:
        """Yield the paths of a class that notices published until `before` (Unix seconds) have named."""
        rows = self._query(
            "SELECT path, path_bytes FROM notice WHERE class = ? AND published <= ?", (class_name, before)
        )
        return (path_of(*row) for row in rows)

    def notice_totals(self) -> tuple[int, int | None]:
        """Return (how many files notices have named, when the last one was published)."""
        row = self._query("SELECT count(*), max(published) FROM notice")[0]
        return int(row[0]), row[1]

    def past_notices(self, before: int, limit: int) -> list[tuple[int, Notice]]:
        """Return (id, notice) of the oldest notices whose file could have gone before `before` (Unix seconds)."""
        statement = f"SELECT id, {_COLUMNS} FROM notice WHERE goes_at < ? ORDER BY goes_at, id LIMIT ?"  # noqa: S608
        return [(int(row[0]), _notice_of(row[1:])) for row in self._query(statement, (before, limit))]

    def drop_notices(self, numbers: Sequence[int]) -> None:
        """Forget notices by their ids."""
        self._write(
            lambda connection: connection.executemany("DELETE FROM notice WHERE id = ?", [(one,) for one in numbers])
        )

    def may_tell(self, what: str, now: int, every: int) -> int | None:
        """Note that `what` is told now, and return how often it was passed over since it was last told.

        None: it was told less than `every` seconds ago; that is counted.
        """

        def work(connection: Any) -> int | None:
            known = _told(connection)
            last, passed = known.get(what, (None, 0))
            due = last is None or not last <= now < last + every
            known[what] = (now, 0) if due else (last, passed + 1)
            _remember(connection, known)
            return passed if due else None

        return self._write(work)

    def not_told(self, what: str) -> None:
        """Take back that `what` was told: nobody heard it."""

        def work(connection: Any) -> None:
            known = _told(connection)
            if known.pop(what, None) is not None:
                _remember(connection, known)

        self._write(work)


def _notice_of(row: tuple[Any, ...]) -> Notice:
    text, exact, class_name, published, goes_at, clock_at, inode, birth_ns, reason = row
    identity = Identity(unsigned(inode or 0), birth_ns or 0)
    return Notice(path_of(text, exact), class_name, published, goes_at, clock_at or 0, identity, reason)


def _told(connection: Any) -> dict[str, tuple[int | None, int]]:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_TOLD,)).fetchone()
    return {} if row is None else {key: (last, passed) for key, (last, passed) in json.loads(row[0]).items()}


def _remember(connection: Any, known: dict[str, tuple[int | None, int]]) -> None:
    latest = sorted(known.items(), key=lambda entry: entry[1][0] or 0)[-_REMEMBERED:]
    connection.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_TOLD, json.dumps(dict(latest))),
    )
