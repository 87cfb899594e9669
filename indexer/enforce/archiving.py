"""`[ledger] keep`: runs older than that are written to `archive/` beside the ledger as JSON lines, and leave it.

noted in the ledger → written beside, synced → renamed into place, synced → out of the ledger, in one transaction.
A crash at any point leaves the runs in the ledger, in the archive, or in both until the next time: never in neither.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from typing import TYPE_CHECKING

from indexer.config.trust import open_private_directory
from indexer.enforce import hooks
from indexer.enforce.archive import LEAST
from indexer.errors import IndexerError
from indexer.units import show_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from indexer.enforce.ledger import Ledger
    from indexer.enforce.places import StoreLike

log = logging.getLogger(__name__)

FOLDER = "archive"
KEY = "archived_at"
"""In the ledger's meta: when somebody last looked."""
APART = 86_400
"""Seconds between two looks."""
_TEMPORARY = ".partial"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def archive_runs(store: StoreLike, ledger: Ledger, now: int, *, stop: Callable[[], bool] = lambda: False) -> int:
    """Archive what ended more than `keep` ago, once a day; return how many runs have left the ledger.

    What can still be undone stays, and so do holds, the runs of the last two days and the last of each kind. Where the
    archive cannot be written nothing leaves the ledger; that is logged and tried again the next day.
    Raises LedgerError.
    """
    looked = ledger.noted(KEY)
    if looked is not None and int(looked) <= now < int(looked) + APART:
        return 0
    before = now - max(store.config.ledger.keep, LEAST)
    gone = 0
    try:
        while not stop() and (archive := ledger.next_archive(before, before)) is not None:
            _write(store, archive["file"], ledger.archive_lines(archive))
            hooks.at("archive.written")
            ledger.end_archive(archive)
            gone += len(archive["runs"])
    except OSError as error:
        log.warning("old runs are not archived and stay in the ledger: %s", show_text(str(error)))
    except IndexerError as error:
        if error.code == "ledger":
            raise
        log.warning("old runs are not archived and stay in the ledger: %s", show_text(error.message))
    ledger.note(KEY, str(now))
    if gone:
        log.info("%d runs are archived in %s", gone, show_text(str(store.state / FOLDER)))
    return gone


def _write(store: StoreLike, name: str, documents: Iterable[dict[str, Any]]) -> None:
    """Write a file of the archive whole or not at all: 0600, in a directory of 0700. Raises OSError, TrustError."""
    folder = store.state / FOLDER
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
        _sync(store.state)
    directory = open_private_directory(folder)
    try:
        fd = os.open(name + _TEMPORARY, _NEW, 0o600, dir_fd=directory)
        with open(fd, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(document, ensure_ascii=True) + "\n" for document in documents)
            file.flush()
            hooks.at("archive.synced")
            os.fsync(file.fileno())
        os.rename(name + _TEMPORARY, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    except OSError:
        with contextlib.suppress(OSError):  # a part of it helps nobody, and takes room
            os.unlink(name + _TEMPORARY, dir_fd=directory)
        raise
    finally:
        os.close(directory)


def _sync(directory: os.PathLike[str]) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
