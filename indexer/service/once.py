"""One scan, whether a service runs (it is asked) or not (the lock is taken): there is one writer of the index."""

from __future__ import annotations

import errno
import gc
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from indexer.errors import BusyError
from indexer.index.opening import close_filesystems, open_filesystems, open_index
from indexer.index.queries import Reader
from indexer.scan import full_scan, quick_scan
from indexer.service.client import greet, request
from indexer.service.full_disk import keep_ledger_ready
from indexer.service.policy import index_policy
from indexer.service.running import service_running
from indexer.service.trouble import clear_errors
from indexer.units import text_of

if TYPE_CHECKING:
    from indexer.store import Store

Progress = Callable[[int, int], None]
"""(files looked at, directories waiting)."""


def scan_once(store: Store, *, quick: bool, clock: Callable[[], float], progress: Progress) -> dict[str, Any]:
    """Bring the index up to date and return the keys of CONTRACT §4 `scan`.

    Raises BusyError when another scan holds the lock, FilesystemError, IndexDatabaseError, ServiceError, OSError.
    """
    started = time.monotonic()
    try:
        with store.service_lock(), clear_errors(store):
            done = scan_here(store, quick=quick, clock=clock, progress=progress)
            keep_ledger_ready(store)
    except BusyError:
        if not service_running(store):
            raise
        done = _ask(store, quick=quick, progress=progress)
    return {**done, **figures(store), "seconds": round(time.monotonic() - started, 3)}


def scan_here(
    store: Store, *, quick: bool, clock: Callable[[], float], progress: Progress, rebuilt: bool = False
) -> dict[str, int]:
    """Scan in this process, which holds the store's lock; `rebuilt` notes that observed use was lost just now."""
    filesystems = open_filesystems(store)
    try:
        index = open_index(store, filesystems, index_policy(store.config), None, clock())
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)  # as in the service: rows hold no cycles
        try:
            if rebuilt:
                index.meta.set("rebuilt_at", str(int(clock())))
            result = (quick_scan if quick else full_scan)(index, clock, progress)
        finally:
            index.close()
    finally:
        close_filesystems(filesystems)
    return {"added": result.added, "updated": result.updated, "removed": result.removed}


def _ask(store: Store, *, quick: bool, progress: Progress) -> dict[str, int]:
    greet(store)
    answer = request(
        store, "scan", quick=quick, progress=lambda figures: progress(figures.get("seen", 0), figures.get("pending", 0))
    )
    return {key: int(answer[key]) for key in ("added", "updated", "removed")}


def figures(store: Store) -> dict[str, Any]:
    """Return what the index holds now, and what could not be listed and why."""
    with Reader.open(store.index_path) as reader:
        totals = reader.totals()
        return {
            "files": totals.files,
            "directories": totals.directories,
            "bytes": totals.bytes,
            "skipped": [_skipped(path, code) for path, code in reader.problems()],
        }


def _skipped(path: bytes, code: int) -> dict[str, Any]:
    other = code == errno.EXDEV
    absent = "named in [store] filesystems, and not mounted"
    reason = "another filesystem" if other else absent if code == errno.ENODEV else os.strerror(code)
    return {"path": text_of(path) or ".", "reason": reason, "unreadable": not other}
