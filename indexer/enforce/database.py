"""`ledger.db`, open: one connection, short durable transactions, and room put aside for a full disk."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from indexer.enforce.ballast import Ballast
from indexer.enforce.schema import Error, connect, connect_read_only, is_full, unusable
from indexer.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

_T = TypeVar("_T")


class Database:
    """One connection, usable from any thread; every write is one durable transaction.

    When the disk is full, the ballast beside it is given up and the write tried again.
    """

    def __init__(self, connection: Any, path: Path, ballast: Ballast | None) -> None:
        self._connection = connection
        self._path = path
        self._ballast = ballast
        self._lock = threading.RLock()
        self.commits = 0
        """How many durable commits this handle has made."""
        row = self._query("SELECT value FROM meta WHERE key = 'id'")
        self.id: str = row[0][0] if row else ""
        """Eight hex digits, part of every trash name of this ledger."""

    @classmethod
    def open(cls, path: Path, *, ballast: bool = True, read_only: bool = False) -> Self:
        """Open `ledger.db`, creating it (0600) or upgrading its schema unless `read_only`.

        Open it before the run and keep it open: a freshly opened SQLite fails on a full disk. Raises LedgerError for a
        damaged, newer or (read-only) missing ledger, OSError where it cannot be created.
        """
        if read_only:
            return cls(connect_read_only(path), path, None)
        aside = Ballast(path.with_suffix(".ballast")) if ballast else None
        try:
            connection = connect(path)
        except (LedgerError, OSError):
            # The disk may be full; where it is not, giving the room up changes nothing and the error comes again.
            if aside is None or not aside.give_up():
                raise
            connection = connect(path)
        if aside is not None:
            aside.put_aside()
        return cls(connection, path, aside)

    def give_room(self) -> bool:
        """Give the room put aside back to a full disk, for others who need it now; False when there was none."""
        with self._lock:
            return self._ballast is not None and self._ballast.give_up()

    def noted(self, key: str) -> str | None:
        """Return one of the ledger's facts about itself."""
        rows = self._query("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def note(self, key: str, value: str) -> None:
        """Write such a fact, durably. Raises LedgerError."""
        statement = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self._write(lambda connection: connection.execute(statement, (key, value)))

    def close(self) -> None:
        """Close the connection; the ballast is refilled, since a run usually has made room."""
        with self._lock:
            if self._ballast is not None:
                self._ballast.put_aside()
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _query(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                rows: list[tuple[Any, ...]] = self._connection.execute(statement, values).fetchall()
            except Error as error:
                raise unusable(self._path, error) from error
        return rows

    def _write(self, work: Callable[[Any], _T]) -> _T:
        """Do `work` in one immediate transaction; once more without the ballast when the disk is full."""
        with self._lock:
            try:
                return self._transaction(work)
            except Error as error:
                if not (is_full(error) and self._ballast is not None and self._ballast.give_up()):
                    raise unusable(self._path, error) from error
            try:
                return self._transaction(work)
            except Error as error:
                raise unusable(self._path, error) from error

    def _transaction(self, work: Callable[[Any], _T]) -> _T:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            done = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.commits += 1
        return done
