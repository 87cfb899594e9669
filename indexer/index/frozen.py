"""The index read as one file that nobody writes: for a disk so full that SQLite cannot make its side files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

try:  # what peewee picks as well: a current SQLite where the interpreter's own is old
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:
    import sqlite3

from indexer.errors import IndexDatabaseError, NotScannedError
from indexer.index.database import damage_is_an_error
from indexer.index.migrate import VERSION
from indexer.index.queries import Reader

if TYPE_CHECKING:
    from pathlib import Path


def open_frozen(path: Path) -> Reader:
    """Open the index without locks and without a write-ahead log; the caller holds the store's service lock.

    Raises NotScannedError for one that was never filled, IndexDatabaseError where a log is there (what it holds would
    be missed), or the schema is another one.
    """
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise IndexDatabaseError(f"{path}: there is no room to open the index", remedy="make some, by hand this time")
    with damage_is_an_error(path):
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1", uri=True, isolation_level=None
        )
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != VERSION:
            connection.close()
        if version == 0:
            raise NotScannedError(f"{path}: the index is empty", remedy="make room, then `indexer scan`")
        if version != VERSION:
            raise IndexDatabaseError(f"{path}: the index has another schema", remedy="run `indexer db upgrade`")
    return Reader(connection)
