"""Samples of usage, kept in the ledger: how much each class held, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from indexer.enforce.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterable


class Sample(NamedTuple):
    """What one class held at a moment (Unix seconds); class None: files in no class."""

    at: int
    class_name: str | None
    files: int
    bytes: int
    allocated: int


class Samples(Database):
    """The table `usage_history`."""

    def add_samples(self, samples: Iterable[Sample]) -> None:
        """Keep what each class holds, durably; of two in one second the first stays. Raises LedgerError."""
        rows = [(one.at, one.class_name or "", one.files, one.bytes, one.allocated) for one in samples]
        statement = "INSERT OR IGNORE INTO usage_history (at, class, files, bytes, allocated) VALUES (?, ?, ?, ?, ?)"
        self._write(lambda connection: connection.executemany(statement, rows))

    def last_sample(self) -> int | None:
        """Return when the last samples were taken."""
        found = self._query("SELECT max(at) FROM usage_history")[0][0]
        return None if found is None else int(found)

    def first_samples(self, since: int) -> dict[str | None, Sample]:
        """Return the first sample of each class at or after `since` (Unix seconds)."""
        rows = self._query(
            "SELECT min(at), nullif(class, ''), files, bytes, allocated FROM usage_history"
            " WHERE at >= ? GROUP BY class",
            (since,),
        )
        return {row[1]: Sample(*row) for row in rows}
