"""The index opened where there may be no room for it: on a full disk, which is when removing matters most."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from indexer.errors import IndexDatabaseError, IndexerError, NotScannedError
from indexer.index.frozen import open_frozen
from indexer.service.current import Current, current_index
from indexer.service.policy import fingerprint
from indexer.service.running import service_running

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.enforce.ledger import Ledger
    from indexer.store import Store

MENDING = {"disk_full", "index_error"}
"""SQLite has several words for no room: the disk is full, an I/O error, a file that cannot be opened."""
ROOM = 256 * 1024
"""Bytes that opening the index takes at least, its shared memory and the beginning of its log."""


def index_anyway(stack: ExitStack, store: Store, ledger: Ledger, clock: Callable[[], float], *, scan: bool) -> Current:
    """Open the index for a run, also on a full disk.

    With the room that the ledger had put aside; where that does not do (no inode for SQLite's side files), the index is
    read as it is, and the next scan brings it up to date. Raises what `current_index` raises, NotScannedError.
    """
    if _crowded(store):
        ledger.give_room()
    try:
        return stack.enter_context(current_index(store, clock, scan=scan))
    except Exception as error:
        if not _mends(error):
            raise
    ledger.give_room()
    try:
        return stack.enter_context(current_index(store, clock, scan=scan))
    except Exception as error:
        if not _mends(error) and not isinstance(error, IndexDatabaseError):
            raise
    return _as_it_is(stack, store, clock)


def index_to_read(
    stack: ExitStack, store: Store, clock: Callable[[], float], *, scan: bool, write: bool = False
) -> Current:
    """Open the index for a plan; on a full disk it is read as it is, and the room put aside stays for the run.

    Raises what `current_index` raises, IndexDatabaseError also where the policy has changed since and the index
    cannot be brought to it.
    """
    if service_running(store) or not _crowded(store):
        try:
            return stack.enter_context(current_index(store, clock, scan=scan, write=write))
        except Exception as error:
            if not _mends(error):
                raise
    current = _as_it_is(stack, store, clock)
    if current.reader.meta("policy") != fingerprint(store.config):
        raise IndexDatabaseError(
            f"{store.index_path}: there is no room to bring the index to the policy as it is now",
            remedy="`indexer cleanup` works on a full disk; a plan of the new policy needs some room first",
        )
    return current


def keep_ledger_ready(store: Store) -> None:
    """Make the ledger, with the room that it puts aside, while there is room: the first run may meet a full disk.

    Only for a store that things may be removed from. What does not go well now is said by the run that needs it.
    """
    from indexer.enforce.ledger import Ledger

    if not (store.config.classes and store.may_remove) or store.ledger_path.exists():
        return
    try:
        with store.run_lock():  # whose file wants an inode as well
            Ledger.open(store.ledger_path).close()
    except (IndexerError, OSError):
        return


def _mends(error: Exception) -> bool:
    """Say whether a failure is the disk's, and passes with it."""
    from indexer.service.trouble import trouble_of

    return trouble_of(error) in MENDING


def _crowded(store: Store) -> bool:
    """Say whether the state's filesystem has no room for what SQLite maps into memory.

    It must not even try: where blocks are smaller than 4 KiB, writing to such a map on a full disk ends the process
    (SIGBUS), since SQLite touches it once in 4 KiB only.
    """
    try:
        fd = os.open(store.state, getattr(os, "O_TMPFILE", os.O_DIRECTORY) | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, ROOM)  # statvfs also counts what even root may not have (ext4)
        finally:
            os.close(fd)
    except OSError as error:
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return False


def _as_it_is(stack: ExitStack, store: Store, clock: Callable[[], float]) -> Current:
    stack.enter_context(store.service_lock())
    reader = stack.enter_context(open_frozen(store.index_path))
    if not reader.complete:
        raise NotScannedError(f"{store.root}: the first scan is not complete", remedy="make room, then `indexer scan`")
    last = int(reader.meta("last_reconcile") or 0)
    return Current(store, reader, None, max(0, int(clock()) - last))
