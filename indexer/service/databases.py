"""The two databases as files: which schema they have, whether they are sound, and a new index from the tree."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from indexer.enforce import schema as ledger_schema
from indexer.enforce.ledger import Ledger
from indexer.errors import IndexDatabaseError, IndexerError, LedgerError
from indexer.index import derived, subtrees
from indexer.index.database import connect_reader, connect_writer
from indexer.index.migrate import VERSION

try:  # what the index picks as well
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:
    import sqlite3

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indexer.service.once import Progress
    from indexer.store import Store

MANY = 100
"""Findings of SQLite's integrity check that are enough."""
_HEADER = 60
"""Offset of user_version in a SQLite file (sqlite.org/fileformat2.html): readable even where SQLite refuses."""


def database_status(store: Store) -> dict[str, Any]:
    """Return size and schema of both databases, None for one that is not there, and the SQLite that reads them."""
    return {
        "sqlite": sqlite3.sqlite_version,
        "driver": sqlite3.__name__.split(".")[0],
        "schema": _schema(store.index_path),
        "known_schema": VERSION,
        "ledger_schema": _schema(store.ledger_path),
        "known_ledger_schema": ledger_schema.VERSION,
        "index_bytes": _size(store.index_path),
        "ledger_bytes": _size(store.ledger_path),
        "index": str(store.index_path),
        "ledger": str(store.ledger_path),
    }


def check_databases(store: Store) -> dict[str, Any]:
    """Let SQLite check both files, and compare the index's counters with its rows. Returns `ok` and `problems`."""
    problems: list[str] = []
    try:
        connection = connect_reader(store.index_path)
        try:
            problems += [f"index: {finding}" for finding in _integrity(connection)]
            problems += [f"index: {finding}" for finding in _counters(connection)]
        finally:
            connection.close()
    except IndexDatabaseError as error:
        problems.append(f"index: {error.message}; {error.remedy}")
    except sqlite3.DatabaseError as error:
        problems.append(f"index: {error}; run `indexer db rebuild`")
    if store.ledger_path.exists():
        try:
            connection = ledger_schema.connect_read_only(store.ledger_path)
            try:
                problems += [f"ledger: {finding}" for finding in _integrity(connection)]
            finally:
                connection.close()
        except (LedgerError, sqlite3.DatabaseError) as error:
            problems.append(f"ledger: {error}")
    return {"ok": not problems, "problems": problems}


def upgrade_databases(store: Store) -> dict[str, Any]:
    """Bring both databases to this program's schema; nothing happens to those that have it.

    Raises BusyError beside a running service, IndexDatabaseError, LedgerError.
    """
    with store.service_lock():
        connect_writer(store.index_path).close()
        if store.ledger_path.exists():
            Ledger.open(store.ledger_path).close()
    return database_status(store)


def rebuild_index(store: Store, *, clock: Callable[[], float], progress: Progress) -> dict[str, Any]:
    """Throw the index away and make it anew from the tree: first seen is the earlier of now and ctime again.

    Observed use is lost, so it is noted when this was done. Returns the keys of `scan`. Raises BusyError beside a
    running service, FilesystemError, OSError.
    """
    from indexer.service.once import figures, scan_here
    from indexer.service.trouble import clear_errors

    with store.service_lock():
        os.close(store.open_root())  # nothing is thrown away while the tree is not there
        directory = os.open(store.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in ("index.db-wal", "index.db-shm", "index.db"):
                _unlink(directory, name)
        finally:
            os.close(directory)
        with clear_errors(store):
            done = scan_here(store, quick=False, clock=clock, progress=progress, rebuilt=True)
    return {**done, **figures(store)}


def _unlink(directory: int, name: str) -> None:
    """Remove one of the index's own files; anything that is not a regular file is somebody's mistake."""
    try:
        if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise IndexDatabaseError(f"{name} in the state directory is not a regular file", remedy="move it away")
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return


def _integrity(connection: Any) -> list[str]:
    rows = connection.execute(f"PRAGMA integrity_check({MANY})").fetchall()
    return [str(row[0]) for row in rows if row[0] != "ok"]


def _counters(connection: Any) -> list[str]:
    """Say whether usage, which triggers keep, is not the sum of the rows."""
    wrong = derived.disagreeing(connection) + subtrees.disagreeing(connection)
    return [f"{wrong} usage counters disagree with their rows; run `indexer db rebuild`"] if wrong else []


def _schema(path: Path) -> int | None:
    try:
        with open(path, "rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return None
    if not header:
        return 0
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise IndexerError(f"{path.name} is not a SQLite database", remedy="`indexer db check` says more")
    with_log = path.with_name(path.name + "-wal").exists()
    return _pragma(path) if with_log else int.from_bytes(header[_HEADER : _HEADER + 4], "big")


def _pragma(path: Path) -> int:
    """Return user_version where it may still be in the write-ahead log."""
    from urllib.parse import quote

    connection = sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True, timeout=10)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
