"""What was taken for room and made again soon: room that a quota or a watermark wins in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from indexer.enforce.database import Database
from indexer.enforce.rows import path_of, unsigned
from indexer.records import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOKED_AT = 10_000
"""The latest of what was taken that is looked for again at a time."""

_TAKEN = """
    SELECT run_id, seq, path, path_bytes, inode, birth_ns, at FROM action
    WHERE run_id >= (SELECT min(id) FROM run WHERE started >= ?)
        AND reason IN ('quota', 'watermark') AND outcome IN ('trashed', 'deleted', 'sent')
        AND recreated_at IS NULL AND at >= ?
    ORDER BY run_id DESC, seq DESC LIMIT ?
"""


class Taken(NamedTuple):
    """A file that a quota or a watermark took, at `at` (Unix seconds); it has not been seen again."""

    run: int
    seq: int
    path: bytes
    identity: Identity
    at: int


class Thrash(Database):
    """When files that were taken for room were found at their places again."""

    def taken_for_room(self, since: int) -> list[Taken]:
        """Return what quotas and watermarks took at or after `since` (Unix seconds), the latest first."""
        rows = self._query(_TAKEN, (since, since, LOOKED_AT))
        return [
            Taken(run, seq, path_of(text, exact), Identity(unsigned(inode), birth_ns), at)
            for run, seq, text, exact, inode, birth_ns, at in rows
        ]

    def recreated(self, found: Iterable[tuple[int, Taken]]) -> None:
        """Record when what was taken was made again, durably. Raises LedgerError."""
        rows = [(at, taken.run, taken.seq) for at, taken in found]
        statement = "UPDATE action SET recreated_at = ? WHERE run_id = ? AND seq = ?"
        self._write(lambda connection: connection.executemany(statement, rows))

    def thrash(self, since: int) -> dict[str | None, int]:
        """Return how many files of each class were taken for room and made again, the latter at or after `since`."""
        return dict(
            self._query(
                "SELECT class, count(*) FROM action WHERE recreated_at >= ? GROUP BY class",
                (since,),
            )
        )
