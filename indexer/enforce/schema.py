"""How the ledger is opened: created private, brought to this version's schema, durable at every commit."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

try:  # what peewee picks as well: a current SQLite where the interpreter's own is old
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:
    import sqlite3

from indexer.errors import LedgerError
from indexer.index.migrate import scripts
from indexer.syscalls.newfile import make_private_file
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 5
"""PRAGMA user_version of a ledger that this program reads and writes."""
BUSY_SECONDS = 30
"""How long a statement waits for another process's transaction."""

_READONLY = 8
"""SQLITE_READONLY: here it is SQLITE_READONLY_ROLLBACK, a journal that a crash left behind."""

PRAGMAS = {
    "journal_mode": "truncate",
    "synchronous": "full",
    "foreign_keys": "off",
    "temp_store": "memory",
    "cache_size": -8192,
}
"""No WAL: on a full btrfs its shared memory ends the process (SIGBUS), and the ledger is written on full disks."""


def connect(path: Path) -> Any:
    """Open the ledger for writing, 0600, creating or upgrading it; return a DB-API connection in autocommit mode.

    peewee and its migration runner (48 ms of imports) are loaded only when the schema has to change. The connection
    may be used from any thread, one at a time. Raises LedgerError, OSError where the file cannot be created.
    """
    make_private_file(path)
    try:
        connection = sqlite3.connect(
            os.fspath(path), isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
        )
        for name, value in PRAGMAS.items():
            connection.execute(f"PRAGMA {name} = {value}")  # constants of this module
        version = check(connection, path)
        if version < VERSION:
            _migrate(path)
            check(connection, path)
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    return connection


def connect_read_only(path: Path) -> Any:
    """Open the ledger for reading. Raises LedgerError, also when there is none.

    A transaction that a crash cut off is rolled back first, and an older schema upgraded: both need a moment of write
    access.
    """
    try:
        return _read_only(path)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != _READONLY:
            raise unusable(path, error) from error
    try:
        connect(path).close()
        return _read_only(path)
    except (sqlite3.Error, OSError) as error:
        raise unusable(path, error) from error


def _read_only(path: Path) -> Any:
    quoted = os.fspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(
        f"file:{quoted}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
    )
    try:
        version = check(connection, path)
    except BaseException:
        connection.close()
        raise
    if version < VERSION:
        connection.close()
        connect(path).close()
        return _read_only(path)
    return connection


def check(connection: Any, path: Path) -> int:
    """Return the schema's version. Raises LedgerError when a newer program wrote it."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise LedgerError(
            f"{show_text(str(path))}: the ledger has schema {version}, this program knows schema {VERSION}",
            remedy="upgrade indexer; the ledger is not derived data and is never made anew by the program",
        )
    return version


def _migrate(path: Path) -> None:
    from peewee import PeeweeException, SqliteDatabase
    from playhouse.migrations import Runner

    database = SqliteDatabase(os.fspath(path), pragmas=PRAGMAS, timeout=BUSY_SECONDS, thread_safe=False)
    with _alone(path):
        try:
            database.connect()
            if database.pragma("user_version") < VERSION:  # nobody else was here before us
                Runner(database, str(scripts("ledger"))).up()
        except PeeweeException as error:
            # Where nothing can be locked, another process may have made the same step: the version decides.
            with suppress(PeeweeException):
                if database.pragma("user_version") >= VERSION:
                    return
            raise unusable(path, error) from error
        finally:
            database.close()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the ledger's directory while its schema changes, step by step: two that begin together would both begin.

    flock(2) on the directory, since a lock file's descriptor would be one more thing to leave behind, and one on the
    database itself would end SQLite's own locks (`syscalls.newfile`).
    """
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # ENOLCK, EOPNOTSUPP: a network filesystem without locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


Error = sqlite3.Error


def unusable(path: Path, error: Exception) -> LedgerError:
    """Return the LedgerError for what SQLite said."""
    if "disk is full" in str(error):
        return LedgerError(
            f"{show_text(str(path))}: the disk is full, and there is no room for the ledger",
            remedy="nothing is removed without it: make a few MiB of room by hand this time, or put [store] state on"
            " another filesystem; from then on the ledger keeps its own room aside",
        )
    return LedgerError(
        f"{show_text(str(path))}: the ledger cannot be used: {error}",
        remedy="nothing is removed without it: check its permissions and its disk; if it is damaged, keep a copy of it,"
        " move it away and start with a new one (the trash stays as it is)",
    )


def is_full(error: Exception) -> bool:
    """True when SQLite failed for want of room: SQLITE_FULL, or an I/O or open error that may be one."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return (code & 0xFF) in {10, 13, 14}
    return any(word in str(error) for word in ("full", "disk I/O", "unable to open"))
