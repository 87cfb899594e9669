"""The published copy of a store: one SQLite file with every view of the contract, replaced as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

try:  # what the index picks as well
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:
    import sqlite3

from indexer._version import __version__
from indexer.errors import FilesystemError
from indexer.index.database import connect_reader, damage_is_an_error
from indexer.index.published import copy_index, copy_ledger
from indexer.index.queries import Reader
from indexer.index.views import install
from indexer.reports.atomic import replacing
from indexer.reports.reading import Protecting, child_quotas, prefixes
from indexer.units import show_name, text_of

if TYPE_CHECKING:
    from indexer.store import Store

CACHE_KIB = 32_768
STEPS = 100_000
"""Steps of SQLite's virtual machine between two looks at whether to stop: about 10 ms."""


def publish(
    store: Store,
    target: Path,
    now: int,
    *,
    mode: int | None = None,
    group: str | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Write the published copy as of `now` (Unix seconds) to `target`; return how many files it tells of.

    It is a snapshot of one moment, though a service writes meanwhile, and takes no lock that a writer of the index
    would wait for. Once `stopping` says so it is given up (a FilesystemError) and what was there stays. Raises
    NotScannedError, IndexDatabaseError, UsageError, FilesystemError.
    """
    connect_reader(store.index_path).close()  # says what is wrong with it, if anything is
    with replacing(target, mode=mode, group=group) as temporary, damage_is_an_error(store.index_path):
        connection = _new(temporary)
        connection.set_progress_handler(stopping, STEPS)
        try:
            return _fill(connection, store, now)
        except sqlite3.OperationalError as error:
            if stopping():
                raise FilesystemError(
                    f"{show_name(os.fsencode(target))} was not written: stopped before it was complete",
                    remedy="the one before it is still there",
                ) from error
            if "full" in str(error) or "disk I/O" in str(error):
                raise FilesystemError(
                    f"{show_name(os.fsencode(target))} cannot be written: {error}", remedy="make room on its disk"
                ) from error
            raise
        finally:
            connection.close()


def _new(path: Path) -> Any:
    """Open the empty file. Nobody else sees it and a failure throws it away, so it needs no journal of its own."""
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}", uri=True, isolation_level=None, check_same_thread=False
    )
    for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}", "temp_store = FILE"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _fill(connection: Any, store: Store, now: int) -> int:
    connection.execute("ATTACH ? AS live", (f"file:{quote(os.fsencode(store.index_path))}?mode=ro",))
    reader = Reader(connection)
    rules = store.config.classes
    install(
        reader,
        now=lambda: now,
        ledger=store.ledger_path,
        protection=Protecting(store, now),
        prefixes=prefixes(rules),
        child_quotas=child_quotas(rules),
    )
    copy_ledger(connection)
    copy_index(connection, at=now, store=store.id, root=text_of(store.root_bytes), version=__version__)
    return int(connection.execute("SELECT count(*) FROM _file").fetchone()[0])
