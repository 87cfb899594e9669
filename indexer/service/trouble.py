"""Which failures mend themselves, which mean that the root is away, and what people are told of the others."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import FilesystemError, IndexerError, NoStoreError, TrustError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.store import Store

log = logging.getLogger(__name__)

MENDING = ("disk_full", "index_error", "no_resources")
"""Reasons of `state.REASONS` that pass by themselves: what could not be written is kept and tried again."""

_BY_ERRNO = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EIO: "index_error",
    errno.EMFILE: "no_resources",
    errno.ENFILE: "no_resources",
    errno.ENOMEM: "no_resources",
}
_BY_WORDS = {
    "disk is full": "disk_full",
    "disk I/O error": "index_error",
    "unable to open database file": "index_error",
    "attempt to write a readonly": "index_error",
    "locked": "index_error",
}
"""SQLite's driver may be either of two modules, so its exceptions are told by their words (sqlite3_errstr)."""


def trouble_of(error: BaseException) -> str | None:
    """Say which of `MENDING` a failed write of the index is, None when waiting will not help."""
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0)
    if type(error).__name__ != "OperationalError":
        return None  # damage above all
    words = str(error)
    return next((reason for known, reason in _BY_WORDS.items() if known in words), None)


def contradiction(error: BaseException) -> str | None:
    """Say `index_error` where a row was refused because another has its place: a defect of ours, None otherwise.

    The session's picture of the index is then wrong. A new one looks at everything again; the log has the trace.
    """
    if type(error).__name__ != "IntegrityError":
        return None
    log.error("a row contradicts another: everything is verified", exc_info=error)
    return "index_error"


def lost_root(error: BaseException) -> str | None:
    """Say `root_missing` or `root_changed` where a store that was there cannot be opened again, None otherwise."""
    if isinstance(error, IndexerError) and error.code in {"root_missing", "root_changed"}:
        return error.code
    if isinstance(error, (FilesystemError, NoStoreError, TrustError)):
        return "root_missing"
    gone = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.EACCES, errno.EROFS}
    return "root_missing" if isinstance(error, OSError) and error.errno in gone else None


@contextmanager
def clear_errors(store: Store) -> Iterator[None]:
    """Turn what SQLite and the kernel say about the state directory into an error with a remedy."""
    try:
        yield
    except IndexerError:
        raise
    except Exception as error:
        reason = trouble_of(error)
        where = store.index_path
        if isinstance(error, OSError) and error.filename is not None:
            where = Path(os.fsdecode(error.filename))
        if reason == "disk_full":
            raise FilesystemError(
                f"{store.state}: no room for the index", remedy="free some space, or put [store] state elsewhere"
            ) from error
        if reason is not None or isinstance(error, OSError):
            words = error.strerror if isinstance(error, OSError) else str(error)
            raise FilesystemError(
                f"{where}: {words}", remedy="`indexer doctor` looks at permissions, mounts, room and limits"
            ) from error
        raise
