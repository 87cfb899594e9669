"""The index as far up to date as a caller may bring it: by the running service, or by a quick pass of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.errors import BusyError, IndexDatabaseError, NotScannedError, ServiceError
from indexer.index.queries import Reader
from indexer.service.policy import fingerprint, index_policy
from indexer.service.running import service_running

if TYPE_CHECKING:
    from indexer.enforce.ledger import Ledger
    from indexer.index.apply import Index
    from indexer.store import Store

SETTLE_SECONDS = 30.0
"""How long a run waits for the service to catch up before it goes by what the index says."""


@dataclass(slots=True)
class Current:
    """An index that has been brought up to date as far as this caller may."""

    store: Store
    reader: Reader
    index: Index | None
    """The write side, when no service runs and this process holds its lock."""
    age_seconds: int


@contextmanager
def current_index(
    store: Store, clock: Callable[[], float], *, scan: bool = True, write: bool = True
) -> Iterator[Current]:
    """Bring the index up to date: ask the service to settle, or without one make a quick pass; then open it.

    `scan=False` goes by what is there; whoever will not `write` either opens nothing to be written where the index is
    of this policy. Raises NotScannedError, ServiceError, IndexDatabaseError, FilesystemError.
    """
    with ExitStack() as stack:
        index: Index | None = None
        if service_running(store):
            settle(store, scan=scan)
        elif not (scan or write) and _of_this_policy(store):
            pass
        elif os.access(store.state, os.W_OK, effective_ids=True):
            index = _own_index(store, clock, stack, scan=scan)
        reader = stack.enter_context(Reader.open(store.index_path))
        if not reader.complete:
            raise NotScannedError(
                f"{store.root}: the first scan is not complete", remedy="run `indexer scan`, or wait for the service"
            )
        if index is None and reader.meta("policy") != fingerprint(store.config):
            raise ServiceError(
                "the service still works by an older configuration, or is just reclassifying",
                remedy="restart `indexer watch`, or try again in a moment",
            )
        last = int(reader.meta("last_reconcile") or 0)
        yield Current(store, reader, index, 0 if index is not None and scan else max(0, int(clock()) - last))


def settle(store: Store, *, scan: bool) -> None:
    """Let the service catch up, unless nobody wants a `scan`."""
    if not scan:
        return
    from indexer.service.client import greet, request

    try:
        greet(store)
        request(store, "settle", SETTLE_SECONDS + 5, timeout=SETTLE_SECONDS)
    except ServiceError as error:
        import logging

        logging.getLogger(__name__).warning("going by the index as it is: %s", error.message)
        return  # it is still reconciling: every file is verified once more before it goes, and the result tells the age


def _of_this_policy(store: Store) -> bool:
    """Say whether the index is there, complete, and classified by the configuration as it is."""
    try:
        with Reader.open(store.index_path) as reader:
            return reader.complete and reader.meta("policy") == fingerprint(store.config)
    except (NotScannedError, IndexDatabaseError):
        return False


def _own_index(store: Store, clock: Callable[[], float], stack: ExitStack, *, scan: bool) -> Index | None:
    try:
        stack.enter_context(store.service_lock())
    except BusyError:
        return None
    from indexer.index.opening import close_filesystems, open_filesystems, open_index
    from indexer.scan import quick_scan

    filesystems = open_filesystems(store)
    stack.callback(close_filesystems, filesystems)
    index = open_index(store, filesystems, index_policy(store.config), None, clock())
    stack.callback(index.close)
    if scan:
        quick_scan(index, clock)
    return index


def ledger_to_read(store: Store, stack: ExitStack) -> Ledger | None:
    """Open the ledger for reading while `stack` is open; None where there is none yet."""
    from indexer.enforce.ledger import Ledger

    if not store.ledger_path.exists():
        return None
    return stack.enter_context(Ledger.open(store.ledger_path, read_only=True))
