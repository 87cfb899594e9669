"""How the index is opened: one writer, any number of readers, and what a damaged file turns into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:  # what peewee picks as well: a current SQLite where the interpreter's own is old
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:
    import sqlite3

from indexer.errors import IndexDatabaseError, NotScannedError
from indexer.index.migrate import VERSION, check_version, migrate
from indexer.syscalls.newfile import make_private_file

CACHE_KIB = 32_768
BUSY_SECONDS = 30

REBUILD = "it is derived data: run `indexer db rebuild` to make it anew from the tree"


def connect_writer(path: Path) -> Any:
    """Open (or create, 0600) the index for its one writer and bring its schema up to date.

    Returns a DB-API connection in autocommit mode. Raises IndexDatabaseError for a corrupt or newer file,
    OSError where the directory cannot be written.
    """
    from peewee import DatabaseError, SqliteDatabase

    make_private_file(path)
    database = SqliteDatabase(
        str(path),
        pragmas={
            "journal_mode": "wal",
            "synchronous": "normal",
            "cache_size": -CACHE_KIB,
            "journal_size_limit": 64 * 1024 * 1024,
        },
        timeout=BUSY_SECONDS,
        thread_safe=False,
        check_same_thread=False,
    )
    with damage_is_an_error(path):
        try:
            database.connect()
            migrate(database, str(path))
        except DatabaseError as error:
            # peewee's own class of the same name: everybody else tells failures by the driver's
            raise getattr(sqlite3, type(error).__name__, sqlite3.DatabaseError)(str(error)) from error
    return database.connection()  # type: ignore[no-untyped-call]


def connect_reader(path: Path) -> Any:
    """Open the index read-only. Raises NotScannedError where there is none yet, IndexDatabaseError for a bad one."""
    if not path.exists():
        raise NotScannedError(f"{path}: there is no index yet", remedy="run `indexer scan` or `indexer watch` first")
    with damage_is_an_error(path):
        try:
            connection = sqlite3.connect(f"file:{_quote(path)}?mode=ro", uri=True, isolation_level=None, timeout=10)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise IndexDatabaseError(
                f"{path}: the index cannot be opened: {error}", remedy="check its permissions and the room on its disk"
            ) from error
        check_version(version, str(path))
        if version == 0:
            connection.close()
            raise NotScannedError(f"{path}: the index is empty", remedy="run `indexer scan` or `indexer watch` first")
        if version < VERSION:
            connection.close()
            raise IndexDatabaseError(f"{path}: the index has an older schema", remedy="run `indexer db upgrade`")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA temp_store = memory")
    return connection


@contextmanager
def damage_is_an_error(path: Path) -> Iterator[None]:
    """Turn SQLite's words for a damaged file into an IndexDatabaseError with a remedy."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        words = str(error)
        if "malformed" not in words and "not a database" not in words:
            raise
        raise IndexDatabaseError(f"{path}: the index is damaged: {error}", remedy=REBUILD) from error


@contextmanager
def transaction(connection: Any) -> Iterator[None]:
    """One write transaction: all or nothing. A full disk shows at the COMMIT, which writes the log."""
    try:
        connection.execute("BEGIN IMMEDIATE")  # one that is interrupted may have begun all the same
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLITE_FULL and SQLITE_IOERR may have rolled back already
            connection.execute("ROLLBACK")
        raise


def _quote(path: Path) -> str:
    from urllib.parse import quote

    return quote(os.fsencode(path))
